#!/usr/bin/env bash
# All there is to do on a machine with a GPU, in one go:  benchmarks/gpu.sh DIR
# Builds for that GPU, runs the op's tests with a GPU required (graph capture and torch.compile are among them), runs the
# memory checker over a small call, and times the kernels. Everything goes to DIR; the exit status says if all passed.
# PYTHON chooses the interpreter; it needs torch with CUDA, numpy, pytest and setuptools.
set -uo pipefail
[ $# -eq 1 ] || { echo "usage: benchmarks/gpu.sh DIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
failed=()

# step NAME COMMAND...: its output goes to DIR/NAME.txt, its failure is remembered
step() {
  local name=$1
  shift
  echo "== $name"
  if "$@" >"$out/$name.txt" 2>&1; then tail -n 3 "$out/$name.txt"; else
    failed+=("$name")
    tail -n 30 "$out/$name.txt"
  fi
}

nvidia-smi >"$out/nvidia-smi.txt" 2>&1
arch=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') || exit 1
step build env VIDEOPOOL_BUILD=cuda VIDEOPOOL_CUDA_ARCHS="$arch" "$python" setup.py build_ext --inplace
step backend "$python" -c 'import videopool.ops as ops; print(ops.backend()); assert "+cuda" in ops.backend()'
step tests env VIDEOPOOL_REQUIRE_CUDA=1 "$python" -m pytest -q tests/ops

small='
import torch
from videopool import ops
for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        x = torch.randn(2, 5, 4, 7, 9, device="cuda").to(dtype).contiguous(memory_format=layout).requires_grad_()
        ops.soft_pool3d(x, (2, 3, 3), (1, 2, 2), (1, 1, 1), (1, 1, 2), True).sum().backward()
torch.cuda.synchronize()
'
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck; do
    step "sanitizer-$tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$python" -c "$small"
  done
else
  echo "== no compute-sanitizer on this machine"
fi

rm -f "$out/pooling.md"
for dtype in float32 bfloat16; do
  for layout in "" --channels-last; do
    # shellcheck disable=SC2086  # an empty layout must vanish
    step "time-$dtype${layout:+-channels-last}" "$python" benchmarks/pooling.py --device cuda --dtype "$dtype" $layout \
      --shape 8 64 16 112 112 --rounds 30 --to "$out/pooling.md"
  done
done

if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all passed; results in $out"
