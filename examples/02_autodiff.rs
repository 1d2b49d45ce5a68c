//! Automatic differentiation: gradients, a second derivative, a vector–Jacobian product.

use hadal::prelude::*;

fn main() -> Result<()> {
    // f(x) = x³ at 3: f' = 27, f'' = 18.
    let x = Tensor::new([3.0f64]);
    let y = (&x * &x * &x).sum(..);
    let first = grad(&y, &[&x])?.remove(0);
    let second = grad(&first.sum(..), &[&x])?.remove(0);
    println!("f = {y}, f' = {first}, f'' = {second}");
    assert_eq!((first.item::<f64>()?, second.item::<f64>()?), (27.0, 18.0));

    // A function of a function: Newton's method finds √2, the root of f(x) = x² - 2.
    let mut root = Tensor::new([1.0f64]);
    for _ in 0..6 {
        let f = (&root * &root - 2.0).sum(..);
        let slope = grad(&f, &[&root])?.remove(0);
        root = (&root - f / slope).materialize()?;
    }
    println!("√2 = {root}");
    assert!((root.item::<f64>()? - 2f64.sqrt()).abs() < 1e-12);

    // Gradients of a vector-valued function, weighted by a cotangent.
    let v = Tensor::new([0.5f32, 1.0, 1.5]);
    let products = vjp(&v.sin(), &Tensor::new([1.0f32, 0.0, 2.0]), &[&v])?;
    println!("cotangent · d sin(v)/dv = {}", products[0]);

    // Where no gradient should flow.
    let g = grad(&(v.detach() * &v).sum(..), &[&v])?.remove(0);
    println!("d(v·detach(v))/dv = {g}");
    Ok(())
}
