// Classify clips with aoti.pt2, without Python.
//
//     classify aoti.pt2 clips.raw FRAMES CROP
//
// clips.raw holds uint8 RGB clips [B, 3, FRAMES, CROP, CROP]. Prints the logits of each clip on a line.

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: classify aoti.pt2 clips.raw FRAMES CROP\n";
    return 2;
  }
  const c10::InferenceMode no_gradients;
  torch::inductor::AOTIModelPackageLoader network(argv[1]);
  std::ifstream file(argv[2], std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const int64_t frames = std::stoll(argv[3]), crop = std::stoll(argv[4]);
  const at::Tensor clips = at::from_blob(bytes.data(), {static_cast<int64_t>(bytes.size())}, at::kByte)
                               .view({-1, 3, frames, crop, crop});
  const at::Tensor logits = network.run({clips})[0].contiguous();
  for (int64_t clip = 0; clip < logits.size(0); ++clip) {
    for (int64_t k = 0; k < logits.size(1); ++k) {
      std::cout << logits[clip][k].item<float>() << (k + 1 < logits.size(1) ? ' ' : '\n');
    }
  }
}
