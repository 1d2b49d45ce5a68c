//! Saving and loading: a model by PyTorch's names, single tensors for NumPy, and what a wrong file says.

use hadal::prelude::*;

#[derive(Module)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn new(seed: u64, hidden: usize) -> Self {
        let init = Init::new(seed);
        Self { fc1: Linear::new(&init, 4, hidden), fc2: Linear::new(&init, hidden, 2) }
    }
}

impl Forward for Mlp {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        self.fc2.forward(&self.fc1.forward(x, cx).relu(), cx)
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join("hadal-example-07");
    std::fs::create_dir_all(&dir)?;
    let (file, array) = (dir.join("mlp.safetensors"), dir.join("weights.npy"));

    let model = Mlp::new(0, 8);
    save_safetensors(&file, &model.state_dict(), &[("model", "mlp")])?;
    let copy = Mlp::new(1, 8);
    copy.load_state_dict(&load_safetensors(&file)?, true)?;
    let x = Tensor::ones([1, 4], DType::F32);
    let same = |m: &Mlp| m.forward(&x, &Ctx::eval()).to_vec::<f32>();
    assert_eq!(same(&model)?, same(&copy)?);
    println!("the copy gives the same numbers: {:?}", same(&copy)?);

    // Files appear whole or not at all; NumPy reads this one with np.load.
    save_npy(&array, &model.fc1.weight.get())?;
    println!("{} holds {}", array.display(), load_npy(&array)?.shape());

    // A file of another model: everything that is wrong, at once.
    if let Err(e) = Mlp::new(2, 16).load_state_dict(&load_safetensors(&file)?, true) {
        println!("\nas it should, this failed:\n{e}");
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
