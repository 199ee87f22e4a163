#!/usr/bin/env bash
# The main job on a real model, on a fresh machine: installs, builds, starts everything locally, quantizes the PP-OCR
# text-direction classifier through the whole service, prints the results and stops what it started. Results: demo/.
source "$(dirname "$0")/lib.sh"

case "${1:-}" in
  "") ;;
  *) echo "usage: scripts/demo.sh    (takes no arguments; results go to demo/)" >&2; exit 2 ;;
esac

example=$root/examples/text_direction
data=$cache/text_direction
demo=$root/demo
model=$cache/models/ch_ppocr_mobile_v2.0_cls_infer.onnx

install_apt_packages "$example/apt_packages.txt"
"$root/scripts/build.sh" pactory pactory-server pactory-worker pactory-trainer
"$python" "$root/examples/ppocr_models/fetch.py" --out "$cache/models"
say "rendering the demo's text lines (8,000 to train on, 2,000 to evaluate on)"
"$python" "$example/render.py" --train 8000 --eval 2000 --out "$data"

mkdir -p "$demo"
export PATH=$build/bin:$PATH PACTORY_PYTHON=$python
service=${PACTORY_DEMO_SERVICE_DIR:-$demo/service}
say "starting PostgreSQL, the server and a worker"
trap 'say "stopping what was started"; pactory local down --dir "$service"' EXIT
pactory local up --dir "$service" --grpc-port 0 --http-port 0
export PACTORY_CONFIG=$service/client.yaml

say "quantizing with PACT at 8 bits"
pactory run --model "$model" --data "$data/train.npz" --eval-data "$data/eval.npz" \
  --config "$example/pact_int8.yaml" --out "$demo/pact_int8"

peer=$demo/quantize_static.json
if [ "$peer" -nt "$data/eval.npz" ] && [ "$peer" -nt "$root/benchmarks/peers/quantize_static.py" ]; then
  say "quantize_static's numbers are those of $(date -r "$peer" '+%F %H:%M'); delete $peer to measure them again"
else
  say "ONNX Runtime's own quantize_static on the same data, for comparison"
  "$python" "$root/benchmarks/peers/quantize_static.py" --model "$model" --calibration-data "$data/train.npz" \
    --eval-data "$data/eval.npz" --json "$peer.new"
  mv "$peer.new" "$peer"
fi

"$python" "$example/table.py" --int8 "$demo/pact_int8/report.json" --peer "$peer"
