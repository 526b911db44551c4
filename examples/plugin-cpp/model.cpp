// LeNet-5 with rectifiers and max pooling, as it is usually built today. LeCun et al.,
// "Gradient-Based Learning Applied to Document Recognition", 1998, section II. It classifies the
// 28×28 grey images of Fashion-MNIST.

#include "gauntlet.hpp"

GAUNTLET_EMBED(lenet_weights, PLUGIN_DIR "/lenet.safetensors")

class LeNet : public gauntlet::Model {
public:
    static constexpr const char *name = "lenet_cpp";
    static constexpr const char *summary =
        "LeNet-5 (LeCun et al. 1998) with rectifiers, trained on Fashion-MNIST";
    static std::vector<gauntlet::Parameter> parameters() { return {}; }
    static gauntlet::Card card(const gauntlet::Parameters &) {
        return {name, "LeNet-5", 28, 10, summary};
    }
    static GauntletBytes weights() { return lenet_weights(); }

    LeNet(const gauntlet::Parameters &, const gauntlet::Weights &weights) {
        // Kernels: height × width × in × out in files, out × in × height × width in libtorch.
        auto kernel = [&](const char *layer, std::vector<int64_t> shape) {
            at::Tensor kernel =
                weights.tensor(std::string(layer) + "/weights", shape, GAUNTLET_ROLE_KERNEL);
            return shape.size() == 4 ? kernel.permute({3, 2, 0, 1}).contiguous() : kernel.t();
        };
        auto bias = [&](const char *layer, int64_t outputs) {
            return weights.tensor(std::string(layer) + "/biases", {outputs}, GAUNTLET_ROLE_BIAS);
        };
        kernels = {kernel("conv1", {5, 5, 1, 6}), kernel("conv2", {5, 5, 6, 16}),
                   kernel("fc3", {400, 120}), kernel("fc4", {120, 84}), kernel("logits", {84, 10})};
        biases = {bias("conv1", 6), bias("conv2", 16), bias("fc3", 120), bias("fc4", 84),
                  bias("logits", 10)};
    }

    at::Tensor logits(const at::Tensor &pixels) const override {
        // Grey, about −1 to 1: preprocessing is part of the model.
        at::Tensor x = pixels.mean(1, true) * 2 - 1;
        x = at::max_pool2d(at::conv2d(x, kernels[0], biases[0], 1, 2).relu(), 2);
        x = at::max_pool2d(at::conv2d(x, kernels[1], biases[1]).relu(), 2).flatten(1);
        x = at::linear(x, kernels[2], biases[2]).relu();
        x = at::linear(x, kernels[3], biases[3]).relu();
        return at::linear(x, kernels[4], biases[4]);
    }

private:
    std::vector<at::Tensor> kernels, biases;
};

GAUNTLET_PLUGIN(lenet_cpp, "0.1.0", gauntlet::model<LeNet>())
