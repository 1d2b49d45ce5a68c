//! Commands that are to be copied into a shell.

/// A path as a shell takes it, for commands that are to be copied.
pub fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !path.is_empty() && !path.starts_with('-') && path.chars().all(plain) {
        return path.to_owned();
    }
    let option = if path.starts_with('-') { "./" } else { "" };
    format!("'{option}{}'", path.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn paths_can_be_copied_into_a_shell() {
        assert_eq!(quoted("runs/lenet-1"), "runs/lenet-1");
        assert_eq!(quoted("grün"), "grün");
        assert_eq!(quoted("my run"), "'my run'");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted("-x"), "'./-x'");
    }
}
