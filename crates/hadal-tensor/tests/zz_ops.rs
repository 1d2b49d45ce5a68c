use hadal_tensor::*;
use serde_json::Value;
fn t(v: &Value) -> Tensor {
    let shape: Vec<usize> = v["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let data: Vec<f64> = v["data"].as_array().unwrap().iter().map(|x| x.as_str().unwrap().parse().unwrap()).collect();
    Tensor::from_vec(data, shape).cast(DType::parse(v["dtype"].as_str().unwrap()).unwrap())
}
fn close(a: &Tensor, b: &Tensor) -> Result<(), String> {
    if let Err(e) = a.eval() { return Err(e.to_string()); }
    if a.shape() != b.shape() || a.dtype() != b.dtype() { return Err(format!("{} {} vs {} {}", a.shape(), a.dtype(), b.shape(), b.dtype())); }
    let tol = if b.dtype() == DType::F64 { 1e-11 } else { 3e-6 };
    let (x, y) = (a.cast(DType::F64).to_vec::<f64>().unwrap(), b.cast(DType::F64).to_vec::<f64>().unwrap());
    for (i, (p, q)) in x.iter().zip(&y).enumerate() {
        let ok = p == q || (p.is_nan() && q.is_nan()) || (p - q).abs() <= tol * (q.abs()).max(1e-30) || (p-q).abs() < tol*1e-2;
        if !ok { return Err(format!("at {i}: {p} vs {q}")); }
    }
    Ok(())
}
#[test]
fn all() {
    let cases: Value = serde_json::from_str(&std::fs::read_to_string("/tmp/ops_mine.json").unwrap()).unwrap();
    for c in cases.as_array().unwrap() {
        let (name, op, a) = (c["name"].as_str().unwrap(), c["op"].as_str().unwrap(), &c["args"]);
        let x: Vec<Tensor> = c["inputs"].as_array().unwrap().iter().map(|v| { let x = t(v); if x.dtype().is_float() { x.requires_grad() } else { x } }).collect();
        let f = |k: &str| a[k].as_f64().unwrap();
        let d = |k: &str| a[k].as_i64().unwrap() as isize;
        let names: Vec<&str> = c["input_names"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        let by = |n: &str| names.iter().position(|m| *m == n).map(|i| &x[i]);
        let ints = |k: &str| -> Vec<isize> { match &a[k] { Value::Array(v) => v.iter().map(|v| v.as_i64().unwrap() as isize).collect(), v => vec![v.as_i64().unwrap() as isize] } };
        let us = |k: &str| -> Vec<usize> { ints(k).into_iter().map(|v| v as usize).collect() };
        let i = &x[0];
        let refs: Vec<&Tensor> = x.iter().collect();
        let y: Vec<Tensor> = match op {
            "frac" => vec![i.frac()], "silu" => vec![i.silu()], "mish" => vec![i.mish()], "selu" => vec![i.selu()],
            "hardswish" => vec![i.hardswish()], "hardsigmoid" => vec![i.hardsigmoid()], "softsign" => vec![i.softsign()],
            "logsigmoid" => vec![i.logsigmoid()], "relu6" => vec![i.relu6()], "tanhshrink" => vec![i.tanhshrink()],
            "gelu" => vec![if a["approximate"] == "tanh" { i.gelu_tanh() } else { i.gelu() }],
            "softplus" => vec![i.softplus_with(f("beta"), f("threshold"))], "elu" => vec![i.elu(f("alpha"))], "celu" => vec![i.celu(f("alpha"))],
            "leaky_relu" => vec![i.leaky_relu(f("negative_slope"))], "hardtanh" => vec![i.hardtanh(f("min_val"), f("max_val"))],
            "softshrink" => vec![i.softshrink(f("lambd"))], "hardshrink" => vec![i.hardshrink(f("lambd"))],
            "clamp" if x.len() == 3 => vec![i.clamp(&x[1], &x[2])],
            "clamp" => {
                let s = |k: &str| a.get(k).map(|v| v.as_i64().map(Scalar::I).unwrap_or_else(|| Scalar::F(v.as_f64().unwrap())));
                let mut y = i.clone();
                if let Some(v) = s("min") { y = y.clamp_min(v) }
                if let Some(v) = s("max") { y = y.clamp_max(v) }
                vec![y]
            }
            "prelu" => vec![i.prelu(&x[1])], "signbit" => vec![i.signbit()],
            "nan_to_num" => vec![i.nan_to_num(f("nan"), Some(f("posinf")), Some(f("neginf")))],
            "logaddexp" => vec![i.logaddexp(&x[1])], "masked_select" => vec![i.masked_select(&x[1])],
            "lerp" => vec![if x.len() == 3 { i.lerp(&x[1], &x[2]) } else { i.lerp(&x[1], f("weight")) }],
            "addcmul" => vec![i.addcmul(&x[1], &x[2], f("value"))], "addcdiv" => vec![i.addcdiv(&x[1], &x[2], f("value"))],
            "norm" => {
                let p = a["p"].as_f64().unwrap_or(f64::INFINITY);
                vec![if a.get("dim").is_none() { i.norm(p, ..) } else if a.get("keepdim").is_some() { i.norm_keepdim(p, ints("dim")) } else { i.norm(p, ints("dim")) }]
            }
            "sort" => { let (v, k) = i.sort(d("dim"), a["descending"] == true); vec![v, k] }
            "argsort" => vec![i.argsort(d("dim"), a["descending"] == true)],
            "topk" => { let (v, k) = i.topk(f("k") as usize, d("dim"), a["largest"] == true); vec![v, k] }
            "unique" => { let (p, q, r) = i.unique(); vec![p, q, r] }
            "nonzero" => vec![i.nonzero()],
            "diagonal" => vec![i.diagonal(d("offset"), d("dim1"), d("dim2"))], "diag" => vec![i.diag(d("diagonal"))],
            "roll" => vec![i.roll(ints("shifts"), ints("dims"))], "tril" => vec![i.tril(d("diagonal"))], "triu" => vec![i.triu(d("diagonal"))],
            "meshgrid" => if a["indexing"] == "xy" { Tensor::meshgrid_xy(&refs) } else { Tensor::meshgrid(&refs) },
            "index" => vec![i.index(&[Some(&x[1])])], "take_along_dim" => vec![i.take_along_dim(&x[1], d("dim"))],
            "one_hot" => vec![i.one_hot(f("num_classes") as usize)], "outer" => vec![i.outer(&x[1])],
            "einsum" => vec![einsum(a["equation"].as_str().unwrap(), &refs)],
            "softmax" => vec![i.softmax(d("dim"))], "log_softmax" => vec![i.log_softmax(d("dim"))], "softmin" => vec![i.softmin(d("dim"))],
            "layer_norm" => vec![i.layer_norm(&us("normalized_shape"), by("weight"), by("bias"), f("eps"))],
            "rms_norm" => vec![i.rms_norm(&us("normalized_shape"), by("weight"), f("eps"))],
            "group_norm" => vec![i.group_norm(f("num_groups") as usize, by("weight"), by("bias"), f("eps"))],
            "instance_norm" => vec![i.instance_norm(by("weight"), by("bias"), f("eps"))],
            "normalize" => vec![i.normalize(f("p"), d("dim"), f("eps"))],
            "cosine_similarity" => vec![i.cosine_similarity(&x[1], d("dim"), f("eps"))],
            "scaled_dot_product_attention" => vec![i.scaled_dot_product_attention(&x[1], &x[2], by("attn_mask"), a["is_causal"] == true, a.get("scale").and_then(|v| v.as_f64()))],
            _ => { println!("no {op}"); continue }
        };
        for (k, (y, w)) in y.iter().zip(c["outputs"].as_array().unwrap()).enumerate() {
            if let Err(e) = close(y, &t(w)) { println!("{name} out{k}: {e}"); }
        }
        let cots = c["cotangents"].as_array().unwrap();
        let grads = c["grads"].as_array().unwrap();
        let which: Vec<usize> = grads.iter().enumerate().filter(|(_, g)| !g.is_null()).map(|(i, _)| i).collect();
        if which.is_empty() { continue }
        let mut sum: Option<Tensor> = None;
        for (y, ct) in y.iter().zip(cots) {
            if ct.is_null() { continue }
            let s = (y * t(ct)).sum(..);
            sum = Some(match sum { Some(p) => p + s, None => s });
        }
        let xs: Vec<&Tensor> = which.iter().map(|&i| &x[i]).collect();
        match grad(&sum.unwrap(), &xs) {
            Err(e) => println!("{name} grad: {e}"),
            Ok(g) => for (g, &i) in g.iter().zip(&which) { if let Err(e) = close(g, &t(&grads[i])) { println!("{name} grad{i}: {e}"); } },
        }
    }
}
