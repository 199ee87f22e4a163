"""Times training steps of one net in PyTorch: plain, or quantization-aware by one of its libraries in the form it recommends.
"""
import warnings

import torch

import nets
import timing

warnings.filterwarnings("ignore")


def plain(net, x):
    return net


def fx(net, x):
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    return prepare_qat_fx(net, get_default_qat_qconfig_mapping("x86"), x[:1])


def pt2e(net, x):
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from torchao.quantization.pt2e import move_exported_model_to_train
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

    exported = torch.export.export(net, (x,)).module()
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
    return move_exported_model_to_train(prepare_qat_pt2e(exported, quantizer))


def brevitas(net, x):
    from brevitas.graph.quantize import preprocess_for_quantize, quantize

    return quantize(preprocess_for_quantize(net.eval(), equalize_iters=0, merge_bn=True))


def nncf(net, x):
    import nncf as library

    calibration = library.Dataset([x[:8], x[8:16]])
    return library.quantize(net.eval(), calibration, subset_size=2, fast_bias_correction=True)


class PactFunction(torch.nn.Module):
    """PACT of PaddleSlim's form, composed of PyTorch's ops: x - relu(x - a) + relu(-a - x), then 8 bits, straight through."""

    def __init__(self, alpha):
        super().__init__()
        self.alpha = torch.nn.Parameter(torch.tensor([alpha]))

    def forward(self, x):
        clipped = x - torch.relu(x - self.alpha) + torch.relu(-self.alpha - x)
        scale = self.alpha / 127
        return clipped + ((clipped / scale).round() * scale - clipped).detach()


class QuantizedWeight(torch.nn.Module):
    def forward(self, weight):
        scale = weight.detach().abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True).clamp_min(1e-8) / 127
        return weight + ((weight / scale).round().clamp(-127, 127) * scale - weight).detach()


def composed_pact(net, x):
    """In front of every Conv and Linear, weights per channel by max|w|."""
    layers = [module for module in net.modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))]
    largest = {}
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: largest.__setitem__(layer, inputs[0].abs().max().item()))
             for layer in layers]
    with torch.no_grad():
        net.eval()(x)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", QuantizedWeight())
        layer.pact = PactFunction(max(largest[layer], 1e-3))
        layer.register_forward_pre_hook(lambda layer, inputs: (layer.pact(inputs[0]),))
    return net


FORMS = {"plain": plain, "fx": fx, "pt2e": pt2e, "brevitas": brevitas, "nncf": nncf, "composed_pact": composed_pact}


def main():
    options = timing.read_flags(__doc__.splitlines()[0], FORMS)
    torch.set_num_threads(options.threads)
    x, y = (torch.from_numpy(array) for array in timing.data(options.net, options.batch))
    model = FORMS[options.form](nets.load(options.net).train(), x)
    # Exported graphs have no such switch; they are in training form already.
    if options.form != "pt2e":
        model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)

    def step():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    timing.print_times(step, options)


if __name__ == "__main__":
    main()
