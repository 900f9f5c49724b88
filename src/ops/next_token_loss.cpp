#include "ops/next_token_loss.h"

#include <algorithm>

#include "base/error.h"
#include "ops/linear.h"
#include "ops/optional_tensor.h"
#include "ops/product.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Logits of one part: 16 MiB of floats stay near the processor, and make products large enough to run at full speed.
constexpr int64_t kPartElements = int64_t{1} << 22;

int64_t rows_of_part(int64_t vocabulary) { return std::max<int64_t>(16, kPartElements / vocabulary); }

// Calls work(first, rows) for every part of `tokens`.
template <class Work>
void in_parts(int64_t tokens, int64_t vocabulary, const Work& work) {
  const int64_t most = rows_of_part(vocabulary);
  for (int64_t first = 0; first < tokens; first += most) work(first, std::min(most, tokens - first));
}

void check_arguments(const Tensor& hidden, const Weight& weight, const Tensor& targets) {
  const Tensor& head = weight.matrix;
  base::check(!weight.bias.defined(), "[next_token_loss] expected a head without a bias");
  base::check(hidden.dim() == 2 && head.dim() == 2 && hidden.size(1) == head.size(1) && targets.dim() == 1 &&
                  targets.size(0) == hidden.size(0) && targets.scalar_type() == torch::kInt64,
              "[next_token_loss] expected hidden [tokens, width], head [vocabulary, width] and int64 targets [tokens], "
              "got [{}], [{}] and [{}]",
              fmt::join(hidden.sizes(), ", "), fmt::join(head.sizes(), ", "), fmt::join(targets.sizes(), ", "));
}

Tensor losses_of(const Settings& settings, const Tensor& hidden, const Weight& head, const Tensor& targets) {
  return torch::nll_loss(torch::log_softmax(linear(settings, hidden, head), 1), targets, /*weight=*/{},
                         torch::Reduction::None);
}

class NextTokenLossFunction : public torch::autograd::Function<NextTokenLossFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& hidden, const Tensor& head, const Tensor& targets,
                        bool bf16) {
    const auto precision = bf16 ? kernels::Precision::bf16 : kernels::Precision::f32;
    const Settings settings{.precision = precision};
    const auto wanted = wanted_gradients({hidden, head});
    const Tensor x = hidden.contiguous();
    const int64_t tokens = x.size(0);
    const Tensor dhidden = wanted[0] ? torch::empty_like(x) : Tensor();
    const Tensor dhead = wanted[1] ? torch::zeros_like(head) : Tensor();
    double loss = 0;
    in_parts(tokens, head.size(0), [&](int64_t first, int64_t rows) {
      const Tensor part = x.narrow(0, first, rows);
      const Tensor target = targets.narrow(0, first, rows).unsqueeze(1);
      // Without gradients here: those of the loss are computed at once.
      Tensor log_probability = torch::log_softmax(linear(settings, part, {head}), 1);
      loss -= log_probability.gather(1, target).sum(torch::kFloat64).item<double>();
      if (!wanted[0] && !wanted[1]) return;
      // d loss / d logits = (softmax - one at the target) / tokens, in the same memory.
      Tensor& dlogits = log_probability.exp_();
      dlogits.scatter_add_(1, target, torch::full({rows, 1}, -1.0, x.options()));
      dlogits.div_(static_cast<double>(tokens));
      if (wanted[0]) {
        const bool f32 = head.scalar_type() == torch::kFloat32;
        dhidden.narrow(0, first, rows)
            .copy_(f32 ? product::input_gradient(dlogits, head, {}, precision)
                       : product::frozen_input_gradient(dlogits, head, precision));
      }
      if (wanted[1]) dhead.add_(product::weight_gradient(dlogits, part, precision));
    });
    context->save_for_backward({dhidden, dhead});
    return torch::full({}, loss / static_cast<double>(tokens), x.options());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto scaled = [&](const Tensor& tensor) { return tensor.defined() ? tensor * gradients[0] : Tensor(); };
    return {scaled(saved[0]), scaled(saved[1]), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor next_token_loss(const Settings& settings, const Tensor& hidden, const Weight& head, const Tensor& targets) {
  check_arguments(hidden, head, targets);
  if (!use_kernels(settings, hidden) || head.adapter) return losses_of(settings, hidden, head, targets).mean();
  return NextTokenLossFunction::apply(hidden, head.matrix, targets, settings.precision == kernels::Precision::bf16);
}

Tensor next_token_losses(const Settings& settings, const Tensor& hidden, const Weight& head, const Tensor& targets) {
  check_arguments(hidden, head, targets);
  torch::NoGradGuard no_gradients;
  const Tensor losses = torch::empty({hidden.size(0)}, hidden.options());
  in_parts(hidden.size(0), head.out(), [&](int64_t first, int64_t rows) {
    losses.narrow(0, first, rows)
        .copy_(losses_of(settings, hidden.narrow(0, first, rows), head, targets.narrow(0, first, rows)));
  });
  return losses;
}

}  // namespace incontext::ops
