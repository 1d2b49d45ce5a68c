//! Exponential moving average of a model's weights.

use hadal_core::{Error, ErrorKind, Result};
use hadal_nn::Module;
use hadal_tensor::{Tensor, eval, no_grad};

/// Averages of parameters, updated after each step as `avg = decay·avg + (1 - decay)·weight`; buffers
/// are copied. Evaluate with the averages by [`swap`](Ema::swap)ping them in.
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
}

impl Ema {
    /// Starts at the model's weights.
    pub fn new<M: Module + ?Sized>(model: &M, decay: f64) -> Result<Ema> {
        if !(0.0..=1.0).contains(&decay) {
            return Err(Error::new(ErrorKind::Value, "Ema", format!("a decay of {decay}"))
                .help("use a number between 0 and 1, such as 0.999"));
        }
        let averages =
            model.state_dict().into_iter().map(|(n, t)| Ok((n, t.materialize()?))).collect::<Result<_>>()?;
        Ok(Ema { decay, averages })
    }

    /// Takes in the model's weights as they are now.
    pub fn update<M: Module + ?Sized>(&mut self, model: &M) -> Result<()> {
        // By what is not a parameter: a tied one has several names, of which `parameters` gives the first.
        let buffers: Vec<String> = model.buffers().into_iter().map(|(n, _)| n).collect();
        let now = model.state_dict();
        if now.len() != self.averages.len() {
            return Err(Error::new(ErrorKind::State, "Ema", "the model is not the one the averages are of"));
        }
        let new: Vec<Tensor> = no_grad(|| {
            self.averages
                .iter()
                .zip(&now)
                .map(|((_, avg), (name, w))| {
                    let w = w.detach();
                    if buffers.contains(name) { w } else { avg * self.decay + w * (1.0 - self.decay) }
                })
                .collect()
        });
        eval(&new.iter().collect::<Vec<_>>())?;
        for ((_, avg), t) in self.averages.iter_mut().zip(new) {
            *avg = t;
        }
        Ok(())
    }

    /// Exchanges the model's weights and the averages.
    pub fn swap<M: Module + ?Sized>(&mut self, model: &M) -> Result<()> {
        let now = model
            .state_dict()
            .into_iter()
            .map(|(n, t)| Ok((n, t.materialize()?)))
            .collect::<Result<Vec<_>>>()?;
        model.load_state_dict(&self.averages, true)?;
        self.averages = now;
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
