//! Values of configuration fields: from text, to text.

use hadal_zoo::nearest;

/// A type that a field of the configuration can have.
pub trait Value: Sized {
    /// What to write, for help texts.
    const KIND: &'static str;
    /// The words that are possible, where only some are.
    const CHOICES: &'static [&'static str] = &[];
    /// From text as a flag has it.
    ///
    /// # Errors
    /// What would be right.
    fn parse(text: &str) -> Result<Self, String>;
    /// As TOML has it; `None` when there is no value.
    fn toml(&self) -> Option<String>;
}

macro_rules! numbers {
    ($($t:ty, $kind:literal, $says:literal;)*) => {$(
        impl Value for $t {
            const KIND: &'static str = $kind;
            fn parse(text: &str) -> Result<Self, String> {
                // `1_000_000`, as TOML and Rust write it.
                text.trim().replace('_', "").parse().map_err(|_| format!("'{text}' is not {}", $says))
            }
            fn toml(&self) -> Option<String> {
                Some(format!("{self:?}"))
            }
        }
    )*};
}
numbers! {
    u64, "N", "a whole number of at least 0";
    usize, "N", "a whole number of at least 0";
}

impl Value for f64 {
    const KIND: &'static str = "X";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().replace('_', "").parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(x),
            _ => Err(format!("'{text}' is not a finite number")),
        }
    }
    fn toml(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// The order of a norm: a number above 0, or infinity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormType(pub f64);

impl Value for NormType {
    const KIND: &'static str = "X";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().parse::<f64>() {
            Ok(p) if p > 0.0 => Ok(Self(p)),
            _ => Err(format!("'{text}' is neither a number above 0 nor inf")),
        }
    }
    fn toml(&self) -> Option<String> {
        // Infinity is written `inf` in TOML too.
        Some(format!("{:?}", self.0))
    }
}

impl Value for bool {
    const KIND: &'static str = "BOOL";
    const CHOICES: &'static [&'static str] = &["true", "false"];
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("'{text}' is neither true nor false")),
        }
    }
    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    const KIND: &'static str = "NAME";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn toml(&self) -> Option<String> {
        Some(toml::Value::from(self.as_str()).to_string())
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;
    const CHOICES: &'static [&'static str] = T::CHOICES;
    /// `none` takes a value away that the file or the recipe gives.
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "none" { Ok(None) } else { T::parse(text).map(Some) }
    }
    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(Value::toml)
    }
}

macro_rules! lists {
    ($($t:ty),*) => {$(
        impl Value for Vec<$t> {
            const KIND: &'static str = "N,N,...";
            fn parse(text: &str) -> Result<Self, String> {
                let parts = text.split(',').map(str::trim).filter(|s| !s.is_empty());
                parts.map(<$t as Value>::parse).collect()
            }
            fn toml(&self) -> Option<String> {
                let parts: Vec<String> = self.iter().filter_map(Value::toml).collect();
                Some(format!("[{}]", parts.join(", ")))
            }
        }
    )*};
}
lists!(usize, f64);

/// The message for a word that is none of the possible ones.
pub(crate) fn unknown_word(what: &str, word: &str, known: &[&str]) -> String {
    let near = nearest(word, known).map(|n| format!(" (did you mean '{n}'?)")).unwrap_or_default();
    format!("there is no {what} '{word}'{near}; possible are {}", known.join(", "))
}

/// An enum whose variants are words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),* }
        impl $crate::config::value::Value for $name {
            const KIND: &'static str = "NAME";
            const CHOICES: &'static [&'static str] = &[$($word),*];
            fn parse(text: &str) -> Result<Self, String> {
                match text.trim().to_lowercase().replace('_', "-").as_str() {
                    $($word => Ok(Self::$variant),)*
                    other => Err($crate::config::value::unknown_word($what, other, Self::CHOICES)),
                }
            }
            fn toml(&self) -> Option<String> {
                Some(format!("\"{self}\""))
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }
    };
}
words! {
    /// Optimizers.
    OptimizerKind, "optimizer" {
        /// Stochastic gradient descent.
        Sgd = "sgd",
        /// AdaGrad.
        Adagrad = "adagrad",
        /// RMSProp.
        RmsProp = "rmsprop",
        /// Adadelta.
        Adadelta = "adadelta",
        /// Adam.
        Adam = "adam",
        /// Adamax.
        Adamax = "adamax",
        /// AdamW.
        AdamW = "adamw",
        /// Yogi.
        Yogi = "yogi",
        /// NAdam.
        NAdam = "nadam",
        /// RAdam.
        RAdam = "radam",
        /// Lion.
        Lion = "lion",
    }
}
words! {
    /// Learning-rate schedules.
    ScheduleKind, "schedule" {
        /// The same rate always.
        Constant = "constant",
        /// Times a factor every so many epochs, down to a floor.
        Factor = "factor",
        /// Times a factor at each milestone.
        MultiStep = "multi-step",
        /// Times a factor each epoch.
        Exponential = "exponential",
        /// A power of what is left.
        Polynomial = "polynomial",
        /// One over the square root of the step.
        SquareRoot = "square-root",
        /// Half a cosine.
        Cosine = "cosine",
        /// Cosines that start again.
        CosineRestarts = "cosine-restarts",
        /// Up and down again and again.
        Cyclic = "cyclic",
        /// A line.
        Linear = "linear",
        /// Up and down once.
        OneCycle = "one-cycle",
        /// Lowered when the held-out loss stops falling.
        Plateau = "plateau",
    }
}
words! {
    /// Heights of a cyclic schedule's cycles.
    Height, "height" {
        /// All the same.
        Constant = "constant",
        /// Half of the cycle's before.
        Halved = "halved",
        /// Times a factor each epoch.
        Falling = "falling",
    }
}
words! {
    /// Random changes of training images.
    Augment, "augmentation" {
        /// None.
        None = "none",
        /// Small shifts, turns and scalings of digits; shifts and mirroring of other pictures.
        Light = "light",
    }
}
words! {
    /// Number types that training can compute in.
    Precision, "dtype" {
        /// 32-bit floats.
        F32 = "f32",
        /// 64-bit floats.
        F64 = "f64",
        /// bfloat16; losses, norms and moments are in f32.
        Bf16 = "bf16",
    }
}
