//! Reading the golden cases.

use hadal_tensor::{DType, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

pub struct Case {
    pub name: String,
    pub family: String,
    pub op: String,
    pub args: Value,
    pub inputs: Vec<Tensor>,
    pub input_names: Vec<String>,
    pub outputs: Vec<Tensor>,
    pub cotangents: Vec<Option<Tensor>>,
    pub grads: Vec<Option<Tensor>>,
}

impl Case {
    pub fn read_all(dir: &Path) -> Vec<Case> {
        let text = std::fs::read_to_string(dir.join("ops.json")).expect("ops.json is in the repository");
        let json: Value = serde_json::from_str(&text).expect("ops.json is JSON");
        let file =
            hadal_io::safetensors::read(dir.join("ops.safetensors")).expect("ops.safetensors is readable");
        let tensors: BTreeMap<String, Tensor> = file
            .tensors
            .into_iter()
            .map(|(name, t)| (name, Tensor::from_bytes(&t.data, t.shape, t.dtype)))
            .collect();
        let get =
            |v: &Value| v.as_str().map(|k| tensors.get(k).unwrap_or_else(|| panic!("no tensor {k}")).clone());
        let all = |v: &Value| -> Vec<Option<Tensor>> {
            v.as_array().map(|a| a.iter().map(get).collect()).unwrap_or_default()
        };
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        json["cases"]
            .as_array()
            .expect("cases is a list")
            .iter()
            .map(|c| Case {
                name: text(&c["name"]),
                family: text(&c["family"]),
                op: text(&c["op"]),
                args: c["args"].clone(),
                // Outputs are looked at before gradients are taken: the graph must survive that.
                inputs: all(&c["inputs"]).into_iter().flatten().map(|t| t.requires_grad()).collect(),
                input_names: c["input_names"]
                    .as_array()
                    .map(|a| a.iter().map(text).collect())
                    .unwrap_or_default(),
                outputs: all(&c["outputs"]).into_iter().flatten().collect(),
                cotangents: all(&c["cotangents"]),
                grads: all(&c["grads"]),
            })
            .collect()
    }

    /// Input by PyTorch's argument name.
    pub fn input(&self, name: &str) -> Option<&Tensor> {
        self.input_names.iter().position(|n| n == name).map(|i| &self.inputs[i])
    }

    /// Relative and absolute: f64 to rounding of a few operations, others to a few units in their last
    /// place.
    pub fn tolerance(&self) -> f64 {
        // PyTorch computes these two gradients in f64 with constants rounded to f32.
        if matches!(self.op.as_str(), "hardsigmoid" | "celu") {
            return 1e-7;
        }
        let lowest = self.inputs.iter().chain(&self.outputs).map(|t| t.dtype()).filter(|d| d.is_float());
        lowest
            .map(|d| match d {
                DType::F64 => 1e-11,
                DType::F32 => 3e-6,
                DType::F16 => 4e-3,
                _ => 2e-2,
            })
            .fold(1e-11, f64::max)
    }

    pub fn f(&self, key: &str) -> Option<f64> {
        match &self.args[key] {
            Value::String(s) if s == "inf" => Some(f64::INFINITY),
            v => v.as_f64(),
        }
    }
    pub fn i(&self, key: &str) -> Option<isize> {
        self.args[key].as_i64().map(|v| v as isize)
    }
    pub fn b(&self, key: &str) -> bool {
        self.args[key].as_bool().unwrap_or(false)
    }
    pub fn s(&self, key: &str) -> &str {
        self.args[key].as_str().unwrap_or("")
    }
    /// A list of whole numbers; one number counts as a list of one.
    pub fn list(&self, key: &str) -> Option<Vec<isize>> {
        match &self.args[key] {
            Value::Array(a) => Some(a.iter().filter_map(|v| v.as_i64()).map(|v| v as isize).collect()),
            v => v.as_i64().map(|v| vec![v as isize]),
        }
    }
    pub fn sizes(&self, key: &str) -> Vec<usize> {
        self.list(key).unwrap_or_default().into_iter().map(|v| v as usize).collect()
    }
}
