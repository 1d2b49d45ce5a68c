//! Tensors: creation, views, broadcasting, lazy evaluation, and errors that say where and what.

use hadal::prelude::*;

fn main() -> Result<()> {
    let x = Tensor::arange(0.0, 12.0, 1.0).reshape([3, 4]);
    println!("x =\n{x}");
    println!(
        "every second column, rows reversed =\n{}",
        x.slice(&s![Slice::new(None, None, -1), Slice::new(None, None, 2)])
    );
    println!("rows minus their means =\n{}", &x - x.mean_keepdim(1));
    println!("x·xᵀ =\n{}", x.matmul(&x.t()));
    println!("einsum of the same =\n{}", einsum("ik,jk->ij", &[&x, &x]));

    // Nothing is computed until somebody looks. One pass over memory computes this whole chain:
    let y = ((&x * 0.1).exp() + 1.0).log().sum(..);
    println!("plan: {:?}", hadal::tensor::plan_summary(&[&y])?.kernels);
    println!("softplus summed = {y}");

    // Random numbers are functions of a key.
    let noise = Tensor::randn([2, 3], DType::F32, Key::new(7));
    println!("noise =\n{noise}");

    // A wrong call poisons its result; the error comes out where a value is needed.
    let wrong = x.matmul(&Tensor::ones([3, 2], DType::F32)).relu().sum(..);
    if let Err(e) = wrong.eval() {
        println!("\nas it should, this failed:\n{e}");
    }
    Ok(())
}
