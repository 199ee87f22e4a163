.DEFAULT_GOAL := help
.PHONY: help demo test fast-test build bootstrap layers lint-proto asan tsan chaos clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: ## install, build, and do the main job on a real model (scripts/demo.sh)
	@scripts/demo.sh

test: ## install, build, and run every test (scripts/test.sh)
	@scripts/test.sh

fast-test: ## the same without those that start whole services
	@scripts/test.sh fast

build: ## build everything into build/release
	@scripts/build.sh

bootstrap: ## install the Debian packages, the Python environment and LibTorch
	@scripts/bootstrap.sh

layers: ## check which folder includes which, and file sizes
	@python3 scripts/check_layers.py

lint-proto: ## run buf lint over proto/ (needs npm)
	@scripts/lint_proto.sh

asan: ## build and run the C++ tests with AddressSanitizer and UBSan, into build/address-undefined
	@scripts/sanitize.sh address,undefined

tsan: ## build and run the tests of server, storage and agent with ThreadSanitizer, into build/thread
	@scripts/sanitize.sh thread storage server agent

chaos: ## harm a real service for half an hour and judge every job's history (tests/chaos/run.sh)
	@tests/chaos/run.sh --minutes 30

clean: ## remove the builds; downloads stay in .cache
	@rm -rf build
