//! Exponential moving average of a model's weights.

use hadal_core::{DType, Error, ErrorKind, Result};
use hadal_nn::Module;
use hadal_tensor::{Tensor, eval, no_grad};

/// Averages of parameters, updated after each step as `avg = decay·avg + (1 - decay)·weight`; buffers
/// are copied. Averages of half parameters are f32: a share of 0.001 of a new weight is less than half
/// types can add. Evaluate with the averages by [`swap`](Ema::swap)ping them in.
///
/// ```
/// use hadal_nn::{Init, Linear};
/// use hadal_optim::Ema;
/// let model = Linear::new(&Init::new(0), 2, 1);
/// let mut ema = Ema::new(&model, 0.999)?;
/// ema.update(&model)?;   // after each step
/// ema.swap(&model)?;     // evaluate with the averages …
/// ema.swap(&model)?;     // … and go on training
/// # Ok::<(), hadal_core::Error>(())
/// ```
pub struct Ema {
    decay: f64,
    averages: Vec<(String, Tensor)>,
    /// The model's own weights while it has the averages.
    weights: Option<Vec<(String, Tensor)>>,
}

impl Ema {
    /// Starts at the model's weights.
    pub fn new<M: Module + ?Sized>(model: &M, decay: f64) -> Result<Ema> {
        if !(0.0..=1.0).contains(&decay) {
            return Err(Error::new(ErrorKind::Value, "Ema", format!("a decay of {decay}"))
                .help("use a number between 0 and 1, such as 0.999"));
        }
        let buffers = buffer_names(model);
        let averages = model
            .state_dict()
            .into_iter()
            .map(|(n, t)| {
                let wide = if buffers.contains(&n) { t.dtype() } else { averaged_in(t.dtype()) };
                let t = t.detach().cast(wide).materialize()?;
                Ok((n, t))
            })
            .collect::<Result<_>>()?;
        Ok(Ema { decay, averages, weights: None })
    }

    /// Takes in the model's weights as they are now.
    ///
    /// # Errors
    /// The model is another one, or has the averages in it now.
    pub fn update<M: Module + ?Sized>(&mut self, model: &M) -> Result<()> {
        let fail = |message: &str| Err(Error::new(ErrorKind::State, "Ema", message));
        if self.weights.is_some() {
            return fail("the model has the averages in it: swap them back before the next update");
        }
        // By what is not a parameter: a tied one has several names, of which `parameters` gives the first.
        let buffers = buffer_names(model);
        let now = model.state_dict();
        let same = now.len() == self.averages.len()
            && now.iter().zip(&self.averages).all(|((a, t), (b, u))| a == b && t.shape() == u.shape());
        if !same {
            return fail("the model is not the one the averages are of");
        }
        let new: Vec<Tensor> = no_grad(|| {
            self.averages
                .iter()
                .zip(&now)
                .map(|((_, avg), (name, w))| {
                    let w = w.detach();
                    if buffers.contains(name) {
                        return w;
                    }
                    let w = w.cast(averaged_in(w.dtype()));
                    avg.cast(w.dtype()) * self.decay + w * (1.0 - self.decay)
                })
                .collect()
        });
        eval(&new.iter().collect::<Vec<_>>())?;
        for ((_, avg), t) in self.averages.iter_mut().zip(new) {
            *avg = t;
        }
        Ok(())
    }

    /// Exchanges the model's weights and the averages, rounded to the model's dtypes. Exchanging them
    /// again gives the model its weights back, and leaves the averages as they were.
    pub fn swap<M: Module + ?Sized>(&mut self, model: &M) -> Result<()> {
        if let Some(weights) = &self.weights {
            model.load_state_dict(weights, true)?;
            self.weights = None;
            return Ok(());
        }
        let now = model
            .state_dict()
            .into_iter()
            .map(|(n, t)| Ok((n, t.materialize()?)))
            .collect::<Result<Vec<_>>>()?;
        model.load_state_dict(&self.averages, true)?;
        self.weights = Some(now);
        Ok(())
    }

    /// The averages by name, to be saved.
    pub fn state(&self) -> &[(String, Tensor)] {
        &self.averages
    }

    /// Goes on from saved averages.
    pub fn load_state(&mut self, saved: &[(String, Tensor)]) -> Result<()> {
        let same = saved.len() == self.averages.len()
            && saved.iter().zip(&self.averages).all(|((a, t), (b, u))| a == b && t.shape() == u.shape());
        if !same {
            return Err(Error::new(ErrorKind::Value, "Ema", "the saved averages are of another model"));
        }
        self.averages = saved.to_vec();
        Ok(())
    }
}

fn buffer_names<M: Module + ?Sized>(model: &M) -> Vec<String> {
    model.buffers().into_iter().map(|(n, _)| n).collect()
}

/// The dtype of a parameter's average.
fn averaged_in(dtype: DType) -> DType {
    if dtype.is_float() { dtype.compute() } else { dtype }
}
