use super::*;
use crate::config::Setting;

fn setting(name: &str, value: &str) -> Setting {
    Setting { name: name.into(), value: value.into(), place: String::new() }
}

fn error(settings: &[Setting]) -> String {
    Config::from_settings(settings).unwrap_err().to_string()
}

#[test]
fn a_saved_configuration_reads_back_whole() {
    let mut config = Config::default();
    let values = [
        ("hidden", "64,32"),
        ("data-dir", "/tmp/some \"folder\""),
        ("max-steps", "1_000"),
        ("lr", "1e-3"),
        ("lr-milestones", "1.5,2"),
        ("schedule", "multi_step"),
        ("nesterov", "true"),
        ("ema", "0.99"),
        ("artifacts", "false"),
    ];
    for (name, value) in values {
        config.set(name, value).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    for c in [Config::default(), config, Config { lr: None, ..Config::default() }] {
        std::fs::write(&path, c.to_toml()).unwrap();
        assert_eq!(Config::read(&path).unwrap(), c, "{}", c.to_toml());
    }
}

#[test]
fn every_field_is_documented_and_can_be_set_to_its_own_value() {
    let mut config = Config::default();
    for f in FIELDS {
        assert!(f.help.trim().ends_with('.'), "{}: {:?}", f.name, f.help);
        assert_eq!(f.name.replace('-', "_").replace('_', "-"), f.name);
        if let Some(value) = config.get(f.name) {
            let value = value.trim_matches(['[', ']', '"']).to_owned();
            config.set(f.name, &value).unwrap();
        }
    }
    assert_eq!(config, Config::default());
    assert!(RESUMABLE.iter().all(|r| field(r).is_ok()));
}

#[test]
fn unknown_fields_are_refused_with_line_and_nearest_name() {
    let text = "epochs = 3\n\n# a comment\nlearning-rate = 0.1\n";
    let e = Config::settings_from_toml(text, "my.toml").unwrap_err().to_string();
    assert!(e == "my.toml, line 4: there is no field 'learning-rate' (did you mean 'lr'?)", "{e}");
    for (other, ours) in ELSEWHERE {
        assert!(field(ours).is_ok() && field(other).is_err(), "{other}");
        assert!(
            field(other).unwrap_err().to_string().ends_with(&format!("(did you mean '{ours}'?)")),
            "{other}"
        );
    }
    let e = field("xyzzy-plugh").unwrap_err().to_string();
    assert!(e.starts_with("there is no field 'xyzzy-plugh'; possible are model, "), "{e}");
    let e = Config::settings_from_toml("batchsize = 3", "my.toml").unwrap_err().to_string();
    assert!(
        e.starts_with("my.toml, line 1: there is no field 'batchsize' (did you mean 'batch-size'?)"),
        "{e}"
    );
    let e = Config::settings_from_toml("epochs = 3\nlr = = 2", "my.toml").unwrap_err().to_string();
    assert!(e.starts_with("my.toml, line 2: "), "{e}");
    let e = Config::settings_from_toml("[model]\nname = 1", "my.toml").unwrap_err().to_string();
    assert!(e.starts_with("my.toml, line 1: model: a table or date is no value"), "{e}");
}

#[test]
fn wrong_values_say_what_would_be_right() {
    let at = |text: &str| error(&Config::settings_from_toml(text, "a.toml").unwrap());
    assert_eq!(
        at("seed = 1\nepochs = 1.5"),
        "a.toml, line 2: epochs: '1.5' is not a whole number of at least 0"
    );
    assert_eq!(at("lr = nan"), "a.toml, line 1: lr: 'nan' is not a finite number");
    let e = at("optimizer = \"adamx\"");
    assert!(
        e.starts_with("a.toml, line 1: optimizer: there is no optimizer 'adamx' (did you mean 'adam"),
        "{e}"
    );
    assert_eq!(error(&[setting("epochs", "0")]), "epochs: 0 cannot be; train for at least 1");
    assert_eq!(error(&[setting("momentum", "1")]), "momentum: 1 cannot be; use a number from 0 to below 1");
    assert!(error(&[setting("model", "resnet18")]).contains("there is no model named 'resnet18'"));
    assert!(error(&[setting("schedule", "multi-step")]).contains("10,20"));
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_recipe() {
    let c = Config::from_settings(&[setting("model", "mlp"), setting("epochs", "7"), setting("epochs", "8")])
        .unwrap();
    assert_eq!((c.epochs, c.lr), (8, Some(0.005)));
    let c = Config::from_settings(&[setting("model", "linear-regression")]).unwrap();
    assert_eq!((c.data.as_str(), c.optimizer), ("linear", OptimizerKind::Sgd));
    // A recipe's learning rate is not for another optimizer.
    let c = Config::from_settings(&[setting("optimizer", "sgd")]).unwrap();
    assert_eq!((c.lr, c.learning_rate()), (None, 0.1));
    let c = Config::from_settings(&[setting("lr", "0.5"), setting("optimizer", "sgd")]).unwrap();
    assert_eq!(c.lr, Some(0.5));
    let c = Config::from_settings(&[setting("optimizer", "adamw")]).unwrap();
    assert_eq!(c.lr, Config::default().lr);
}

#[test]
fn schedules_count_in_epochs_and_start_after_the_warm_up() {
    let c = Config { epochs: 10, warmup: 20, schedule: ScheduleKind::Cosine, ..Config::default() };
    let s = c.build_schedule(10);
    assert!((s.lr(1.0, 0) - 0.1).abs() < 1e-12 && (s.lr(1.0, 20) - 1.0).abs() < 1e-12);
    assert!(s.lr(1.0, 100).abs() < 1e-12);
    let c = Config { schedule: ScheduleKind::MultiStep, lr_milestones: vec![1.0, 3.0], ..Config::default() };
    let s = c.build_schedule(10);
    let lr = [0, 9, 10, 29, 30].map(|t| s.lr(1.0, t));
    assert!(lr.iter().zip([1.0, 1.0, 0.1, 0.1, 0.01]).all(|(a, b)| (a - b).abs() < 1e-12), "{lr:?}");
    let c = Config { schedule: ScheduleKind::Exponential, lr_factor: 0.5, ..Config::default() };
    assert!((c.build_schedule(10).lr(1.0, 20) - 0.25).abs() < 1e-12);
    assert!(Config { schedule: ScheduleKind::Plateau, ..Config::default() }.build_plateau().is_some());
}

#[test]
fn every_optimizer_can_be_built() {
    for name in OptimizerKind::CHOICES {
        let c = Config::from_settings(&[setting("optimizer", name)]).unwrap();
        assert!(c.build_optimizer().lr() == c.learning_rate() && c.learning_rate() > 0.0, "{name}");
    }
}

#[test]
fn a_model_has_one_name() {
    let settings = Config::settings_from_toml("model = \"Softmax_Regression\"", "a.toml").unwrap();
    let config = Config::from_settings(&settings).unwrap();
    assert_eq!(config.model, "softmax-regression");
    assert_eq!(config.epochs, 10, "and its recipe");
}
