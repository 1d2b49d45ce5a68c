pub fn run(_r: &std::path::Path, _c: &[&str]) -> Result<(), String> { Ok(()) }
