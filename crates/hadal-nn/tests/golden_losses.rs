//! Losses against PyTorch: values and gradients, with every reduction.

mod common;

use common::{Golden, Outcome, compare_case};
use hadal_nn::loss::*;
use hadal_tensor::Tensor;
use serde_json::Value;

fn reduction(case: &Value) -> Reduction {
    match case["args"]["reduction"].as_str().unwrap() {
        "sum" => Reduction::Sum,
        "none" => Reduction::None,
        _ => Reduction::Mean,
    }
}

/// The loss of a case; `None` for a loss that there is not.
fn loss(case: &Value, t: &dyn Fn(&str) -> Option<Tensor>) -> Option<Tensor> {
    let (args, r) = (&case["args"], reduction(case));
    let number = |name: &str, default: f64| args[name].as_f64().unwrap_or(default);
    let flag = |name: &str| args[name].as_bool().unwrap_or(false);
    let two = || (t("input").unwrap(), t("target").unwrap());
    Some(match case["op"].as_str().unwrap() {
        "mse_loss" => Mse::new().reduction(r).forward(&two().0, &two().1),
        "l1_loss" => L1::new().reduction(r).forward(&two().0, &two().1),
        "smooth_l1_loss" => {
            SmoothL1::new().beta(number("beta", 1.0)).reduction(r).forward(&two().0, &two().1)
        }
        "huber_loss" => Huber::new().delta(number("delta", 1.0)).reduction(r).forward(&two().0, &two().1),
        "cross_entropy" => {
            let mut l = CrossEntropy::new().reduction(r).label_smoothing(number("label_smoothing", 0.0));
            l = l.ignore_index(args["ignore_index"].as_i64().unwrap_or(-100));
            if let Some(w) = t("weight") {
                l = l.weight(&w);
            }
            l.forward(&two().0, &two().1)
        }
        "nll_loss" => {
            let mut l = Nll::new().reduction(r).ignore_index(args["ignore_index"].as_i64().unwrap_or(-100));
            if let Some(w) = t("weight") {
                l = l.weight(&w);
            }
            l.forward(&two().0, &two().1)
        }
        "binary_cross_entropy" => {
            let l = Bce::new().reduction(r);
            match t("weight") {
                Some(w) => l.weight(&w),
                None => l,
            }
            .forward(&two().0, &two().1)
        }
        "binary_cross_entropy_with_logits" => {
            let mut l = BceWithLogits::new().reduction(r);
            if let Some(w) = t("weight") {
                l = l.weight(&w);
            }
            if let Some(w) = t("pos_weight") {
                l = l.pos_weight(&w);
            }
            l.forward(&two().0, &two().1)
        }
        "kl_div" => {
            let l = KlDiv::new().log_target(flag("log_target")).reduction(r);
            let batch_mean = args["reduction"] == "batchmean";
            if batch_mean { l.batch_mean() } else { l }.forward(&two().0, &two().1)
        }
        "hinge_embedding_loss" => {
            HingeEmbedding::new().margin(number("margin", 1.0)).reduction(r).forward(&two().0, &two().1)
        }
        "margin_ranking_loss" => MarginRanking::new().margin(number("margin", 0.0)).reduction(r).forward(
            &t("input1").unwrap(),
            &t("input2").unwrap(),
            &t("target").unwrap(),
        ),
        "triplet_margin_loss" => TripletMargin::new()
            .margin(number("margin", 1.0))
            .p(number("p", 2.0))
            .eps(number("eps", 1e-6))
            .swap(flag("swap"))
            .reduction(r)
            .forward(&t("anchor").unwrap(), &t("positive").unwrap(), &t("negative").unwrap()),
        "cosine_embedding_loss" => CosineEmbedding::new().margin(number("margin", 0.0)).reduction(r).forward(
            &t("input1").unwrap(),
            &t("input2").unwrap(),
            &t("target").unwrap(),
        ),
        "soft_margin_loss" => SoftMargin::new().reduction(r).forward(&two().0, &two().1),
        "multi_margin_loss" => {
            let l = MultiMargin::new().p(args["p"].as_i64().unwrap_or(1) as i32);
            let l = l.margin(number("margin", 1.0)).reduction(r);
            match t("weight") {
                Some(w) => l.weight(&w),
                None => l,
            }
            .forward(&two().0, &two().1)
        }
        "multilabel_soft_margin_loss" => {
            let l = MultiLabelSoftMargin::new().reduction(r);
            match t("weight") {
                Some(w) => l.weight(&w),
                None => l,
            }
            .forward(&two().0, &two().1)
        }
        "multilabel_margin_loss" => MultiLabelMargin::new().reduction(r).forward(&two().0, &two().1),
        "gaussian_nll_loss" => GaussianNll::new()
            .full(flag("full"))
            .eps(number("eps", 1e-6))
            .reduction(r)
            .forward(&two().0, &two().1, &t("var").unwrap()),
        "poisson_nll_loss" => PoissonNll::new()
            .log_input(args["log_input"].as_bool().unwrap_or(true))
            .full(flag("full"))
            .eps(number("eps", 1e-8))
            .reduction(r)
            .forward(&two().0, &two().1),
        _ => return None,
    })
}

#[test]
fn losses_equal_pytorch() {
    let (all, more) = (Golden::load("ops"), Golden::load("layers"));
    let mut compared = 0;
    let both = all.cases.iter().map(|c| (&all, c)).chain(more.cases.iter().map(|c| (&more, c)));
    for (golden, case) in both.filter(|(_, c)| c["family"] == "loss") {
        let names: Vec<&str> =
            case["input_names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let inputs: Vec<Tensor> =
            golden.list(case, "inputs").into_iter().map(|t| t.unwrap().requires_grad()).collect();
        let find = |name: &str| names.iter().position(|n| *n == name).map(|i| inputs[i].clone());
        let y = loss(case, &find).unwrap_or_else(|| panic!("no loss for {}", case["op"]));
        let outcome = Outcome { outputs: vec![y], inputs: inputs.into_iter().map(Some).collect() };
        compare_case(golden, case, &outcome, 1e-12);
        compared += 1;
    }
    assert!(compared > 160, "only {compared} cases of losses in the file");
}
