//! Finding out what made the first value that is not finite.

use crate::step::{StepOptions, gradients};
use hadal_data::Batch;
use hadal_nn::Layer;
use hadal_tensor::{DType, Key, check_finite};

/// Says where the first NaN or infinity of a step comes from: the data, a parameter, or an operation,
/// which is found by making the step again with every operation's result looked at.
pub(crate) fn diagnose(model: &dyn Layer, batches: &[(Batch, Key)], o: &StepOptions) -> String {
    for (batch, _) in batches {
        for (what, array) in [("inputs", &batch.inputs), ("targets", &batch.targets)] {
            let bad = array.as_f32().and_then(|v| v.iter().position(|x| !x.is_finite()));
            if let Some(at) = bad {
                let each = (array.len() / batch.len().max(1)).max(1);
                return format!(
                    "the data itself is not finite: value {} of sample {} in the batch's {what}",
                    at % each,
                    at / each
                );
            }
        }
    }
    for (name, p) in model.parameters() {
        let values = p.get().cast(DType::F64).to_vec::<f64>();
        if values.is_ok_and(|v| v.iter().any(|x| !x.is_finite())) {
            return format!("parameter {name} is not finite since the update before");
        }
    }
    match check_finite(|| gradients(model, batches, o)) {
        Err(e) => format!("the first operation to blame:\n  {}", e.to_string().replace('\n', "\n  ")),
        Ok(_) => "no single operation made it; it comes from adding up large values".into(),
    }
}
