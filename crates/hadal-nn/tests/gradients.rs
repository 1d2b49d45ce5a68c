//! First and second derivatives of every layer and loss, by input and parameters, against central
//! differences in f64.

mod common;

use common::{gradcheck, gradcheck_layer, randn};
use hadal_nn::loss::*;
use hadal_nn::*;
use hadal_tensor::{DType, Key, Padding, Tensor};

fn init() -> Init {
    Init::new(0).dtype(DType::F64)
}

/// In evaluation.
fn check<L: Layer>(name: &str, layer: L, x: &[usize]) {
    gradcheck_layer(name, &layer, |l, x| l.forward(x, &Ctx::eval()), &randn(x, 5));
}

/// In training, with the same random numbers at every call.
fn check_training<L: Layer>(name: &str, layer: L, x: &[usize]) {
    gradcheck_layer(name, &layer, |l, x| l.forward(x, &Ctx::train(Key::new(8))), &randn(x, 5));
}

#[test]
fn linear_and_convolutions() {
    let i = init();
    check("linear", Linear::new(&i, 3, 2), &[4, 3]);
    check("linear without bias", Linear::new(&i, 3, 2).no_bias(), &[2, 2, 3]);
    check("conv1d", Conv1d::new(&i, 2, 4, 3).stride(2).padding(1).groups(2), &[2, 2, 6]);
    check("conv2d", Conv2d::new(&i, 2, 3, [3, 2]).dilation([1, 2]).padding([1, 0]), &[2, 2, 4, 5]);
    check("conv2d same", Conv2d::new(&i, 2, 2, 2).padding(Padding::Same).no_bias(), &[1, 2, 3, 3]);
    check("conv2d unbatched", Conv2d::new(&i, 1, 2, 2), &[1, 3, 3]);
    check("conv3d", Conv3d::new(&i, 1, 2, 2).padding(1), &[1, 1, 2, 3, 2]);
    check(
        "conv_transpose1d",
        ConvTranspose1d::new(&i, 2, 2, 3).stride(2).padding(1).output_padding(1),
        &[2, 2, 3],
    );
    check("conv_transpose2d", ConvTranspose2d::new(&i, 2, 4, 2).stride([1, 2]).groups(2), &[1, 2, 2, 3]);
    check("conv_transpose3d", ConvTranspose3d::new(&i, 1, 1, 2).dilation([1, 2, 1]), &[1, 1, 2, 2, 2]);
}

#[test]
fn normalisation() {
    let i = init();
    check_training("batch_norm training", BatchNorm2d::new(&i, 2), &[3, 2, 2, 2]);
    check_training("batch_norm of vectors", BatchNorm1d::new(&i, 3).no_affine(), &[4, 3]);
    check("batch_norm evaluation", BatchNorm1d::new(&i, 2), &[2, 2, 3]);
    check("batch_norm without statistics", BatchNorm3d::new(&i, 2).no_running_stats(), &[2, 2, 1, 2, 2]);
    check("layer_norm", LayerNorm::new(&i, [2, 3]), &[2, 2, 3]);
    check("layer_norm without bias", LayerNorm::new(&i, 4).no_bias(), &[3, 4]);
    check("rms_norm", RMSNorm::new(&i, 4), &[3, 4]);
    check("group_norm", GroupNorm::new(&i, 2, 4), &[2, 4, 3]);
    check("instance_norm", InstanceNorm1d::new(&i, 2).affine(), &[2, 2, 4]);
    let tracking = InstanceNorm2d::new(&i, 2).affine().track_running_stats();
    check("instance_norm with statistics", tracking, &[2, 2, 2, 2]);
}

#[test]
fn dropout_and_pools() {
    check_training("dropout", Dropout::new(0.4), &[3, 4]);
    check_training("dropout2d", Dropout2d::new(0.4), &[2, 3, 2, 2]);
    check_training("alpha_dropout", AlphaDropout::new(0.4), &[3, 4]);
    check("max_pool1d", MaxPool1d::new(3).stride(1).padding(1), &[2, 1, 5]);
    check("max_pool2d, windows overlap", MaxPool2d::new(3).stride(2).ceil_mode(true), &[1, 2, 4, 4]);
    check("max_pool3d", MaxPool3d::new(2).stride(1), &[1, 1, 3, 2, 2]);
    check("avg_pool1d", AvgPool1d::new(3).stride(2).padding(1).count_include_pad(false), &[2, 1, 5]);
    check("avg_pool2d", AvgPool2d::new(3).stride(2).padding(1), &[1, 2, 4, 4]);
    check("avg_pool3d", AvgPool3d::new(2), &[1, 1, 2, 4, 2]);
    check("adaptive_max_pool2d", AdaptiveMaxPool2d::new([2, 3]), &[1, 2, 5, 4]);
    check("adaptive_avg_pool2d", AdaptiveAvgPool2d::new([2, 3]), &[1, 2, 5, 4]);
    check("global_avg_pool", GlobalAvgPool::new(), &[2, 2, 3, 2]);
}

#[test]
fn shapes_and_sequences() {
    let i = init();
    check("flatten", Flatten::new(), &[2, 2, 3]);
    check("unflatten", Unflatten::new(1, [2, -1]), &[2, 6]);
    check("zero_pad2d", ZeroPad2d::new([1, 0, 2, -1]), &[1, 1, 3, 2]);
    check("sequential", seq![Linear::new(&i, 3, 4), Tanh::new(), Linear::new(&i, 4, 2)], &[2, 3]);
    let words = Embedding::new(&i, 4, 2).padding_idx(1);
    let index = Tensor::new([[0i64, 3, 3], [2, 0, 0]]);
    let x = randn(&[2, 3, 2], 1);
    gradcheck_layer("embedding", &words, |w, x| w.forward(&index, &Ctx::eval()).square() * x, &x);
}

#[test]
fn activations() {
    let i = init();
    let x = [3, 4];
    check("relu", ReLU::new(), &x);
    check("relu6", ReLU6::new(), &x);
    check("leaky_relu", LeakyReLU::new().negative_slope(0.2), &x);
    check("prelu", PReLU::new(&i), &x);
    check("prelu of channels", PReLU::new(&i).num_parameters(4), &x);
    check("elu", ELU::new().alpha(0.7), &x);
    check("selu", SELU::new(), &x);
    check("celu", CELU::new().alpha(0.7), &x);
    check("gelu", GELU::new(), &x);
    check("gelu tanh", GELU::new().tanh(true), &x);
    check("silu", SiLU::new(), &x);
    check("mish", Mish::new(), &x);
    check("softplus", Softplus::new().beta(2.0), &x);
    check("softsign", Softsign::new(), &x);
    check("sigmoid", Sigmoid::new(), &x);
    check("logsigmoid", LogSigmoid::new(), &x);
    check("tanh", Tanh::new(), &x);
    check("hardswish", Hardswish::new(), &x);
    check("hardsigmoid", Hardsigmoid::new(), &x);
    check("hardtanh", Hardtanh::new(), &x);
    check("hardshrink", Hardshrink::new(), &x);
    check("softshrink", Softshrink::new(), &x);
    check("tanhshrink", Tanhshrink::new(), &x);
    check("threshold", Threshold::new(0.1, 2.0), &x);
    check("glu", GLU::new(), &x);
    check("softmax", Softmax::new(-1), &x);
    check("softmin", Softmin::new(0), &x);
    check("log_softmax", LogSoftmax::new(1), &x);
}

#[test]
fn losses() {
    let check =
        |name: &str, f: &dyn Fn(&[Tensor]) -> Tensor, xs: &[Tensor]| gradcheck(name, f, xs, 1e-6, 2e-6);
    let (a, b, c) = (randn(&[3, 4], 1), randn(&[3, 4], 2), randn(&[3, 4], 3));
    let sign = Tensor::new([1.0, -1.0, 1.0]);
    let (p, q) = (a.sigmoid().materialize().unwrap(), b.sigmoid().materialize().unwrap());
    let classes = Tensor::new([2i64, 0, -100]);
    let weight = Tensor::new([0.5, 1.0, 2.0, 0.7]);
    let pair = [a.clone(), b.clone()];
    check("mse", &|t| mse_loss(&t[0], &t[1]), &pair);
    check("l1", &|t| l1_loss(&t[0], &t[1]), &pair);
    check("smooth_l1", &|t| SmoothL1::new().beta(0.6).forward(&t[0], &t[1]), &pair);
    check("huber", &|t| Huber::new().delta(0.6).forward(&t[0], &t[1]), &pair);
    let var = b.square().materialize().unwrap();
    let full = GaussianNll::new().full(true);
    check("gaussian_nll", &|t| full.forward(&t[0], &t[1], &t[2]), &[a.clone(), c.clone(), var]);
    let counts = Tensor::new([[0.0, 1.0, 2.0, 7.0]; 3]);
    check("poisson_nll", &|t| PoissonNll::new().full(true).forward(&t[0], &counts), std::slice::from_ref(&a));
    check("cross_entropy", &|t| CrossEntropy::new().forward(&t[0], &classes), std::slice::from_ref(&a));
    let smooth = CrossEntropy::new().label_smoothing(0.2).weight(&weight);
    check("cross_entropy smoothed", &|t| smooth.forward(&t[0], &classes), std::slice::from_ref(&a));
    check("cross_entropy of probabilities", &|t| smooth.forward(&t[0], &t[1]), &[a.clone(), q.clone()]);
    check("nll", &|t| Nll::new().weight(&weight).forward(&t[0], &classes), std::slice::from_ref(&a));
    let whole = Tensor::new([2i64, 0, 3]);
    check("multi_margin", &|t| MultiMargin::new().p(2).forward(&t[0], &whole), std::slice::from_ref(&a));
    check("bce", &|t| Bce::new().weight(&weight).forward(&t[0], &t[1]), &[p.clone(), q.clone()]);
    let logits = BceWithLogits::new().pos_weight(&weight);
    check("bce_with_logits", &|t| logits.forward(&t[0], &t[1]), &[a.clone(), q.clone()]);
    check("kl_div", &|t| KlDiv::new().batch_mean().forward(&t[0], &t[1]), &[a.clone(), q.clone()]);
    check("kl_div of logarithms", &|t| KlDiv::new().log_target(true).forward(&t[0], &t[1]), &pair);
    check("soft_margin", &|t| soft_margin_loss(&t[0], &t[1]), &pair);
    let signs = sign.unsqueeze(1).expand([3, 4]);
    check("hinge_embedding", &|t| hinge_embedding_loss(&t[0], &signs), std::slice::from_ref(&a));
    check("margin_ranking", &|t| MarginRanking::new().margin(0.3).forward(&t[0], &t[1], &signs), &pair);
    let three = [a.clone(), b.clone(), c.clone()];
    check("triplet_margin", &|t| TripletMargin::new().swap(true).forward(&t[0], &t[1], &t[2]), &three);
    check("cosine_embedding", &|t| cosine_embedding_loss(&t[0], &t[1], &sign), &pair);
}

/// A check that cannot fail proves nothing: a wrong gradient must be found.
#[test]
#[should_panic(expected = "but central difference")]
fn a_wrong_gradient_is_found() {
    gradcheck("half forgotten", |t| t[0].square() + t[0].square().detach(), &[randn(&[3], 1)], 1e-6, 1e-6);
}
