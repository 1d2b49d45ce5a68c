//! Just enough of Rust's grammar to search source text without being fooled by comments, strings and
//! tests.

/// The source with the contents of comments, strings and character literals replaced by spaces. Lines
/// and their lengths in characters stay, and so do the quotes.
pub fn mask(source: &str) -> String {
    let s: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    let at = |i: usize| s.get(i).copied().unwrap_or('\0');
    let blank = |out: &mut String, c: char| out.push(if c == '\n' { '\n' } else { ' ' });
    while i < s.len() {
        let before = if i == 0 { '\0' } else { at(i - 1) };
        let in_word = before.is_alphanumeric() || before == '_';
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < s.len() && at(i) != '\n' {
                    out.push(' ');
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < s.len() {
                    let step = match (at(i), at(i + 1)) {
                        ('/', '*') => {
                            depth += 1;
                            2
                        }
                        ('*', '/') => {
                            depth -= 1;
                            2
                        }
                        _ => 1,
                    };
                    for _ in 0..step {
                        blank(&mut out, at(i));
                        i += 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            // A raw string: r"…", r#"…"#, br#"…"#.
            'r' if (!in_word || before == 'b') && raw_hashes(&s, i + 1).is_some() => {
                let hashes = raw_hashes(&s, i + 1).unwrap_or(0);
                for _ in 0..hashes + 2 {
                    out.push(at(i));
                    i += 1;
                }
                while i < s.len() && !(at(i) == '"' && (1..=hashes).all(|h| at(i + h) == '#')) {
                    blank(&mut out, at(i));
                    i += 1;
                }
                for _ in 0..(hashes + 1).min(s.len() - i) {
                    out.push(at(i));
                    i += 1;
                }
            }
            '"' => {
                out.push('"');
                i += 1;
                while i < s.len() && at(i) != '"' {
                    if at(i) == '\\' {
                        out.push(' ');
                        i += 1;
                    }
                    blank(&mut out, at(i));
                    i += 1;
                }
                if i < s.len() {
                    out.push('"');
                    i += 1;
                }
            }
            // A character literal; otherwise a lifetime.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                out.push('\'');
                i += 1;
                while i < s.len() && at(i) != '\'' {
                    if at(i) == '\\' {
                        out.push(' ');
                        i += 1;
                    }
                    blank(&mut out, at(i));
                    i += 1;
                }
                if i < s.len() {
                    out.push('\'');
                    i += 1;
                }
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

/// Number of `#` between here and a quote.
fn raw_hashes(s: &[char], from: usize) -> Option<usize> {
    let hashes = s[from.min(s.len())..].iter().take_while(|&&c| c == '#').count();
    (s.get(from + hashes) == Some(&'"')).then_some(hashes)
}

/// Masked source with everything under `#[cfg(test)]` blanked, and the names of modules in files of
/// their own that are compiled for tests only.
pub fn without_tests(masked: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(masked.len());
    let mut modules = Vec::new();
    let mut rest = masked;
    while let Some(start) = rest.find(MARK) {
        out.push_str(&rest[..start]);
        let item = &rest[start..];
        let end = item_end(item, MARK.len());
        let text = &item[..end];
        let mut words = text[MARK.len()..].split(|c: char| !c.is_alphanumeric() && c != '_');
        if text.ends_with(';') && words.any(|w| w == "mod") {
            modules.extend(words.find(|w| !w.is_empty()).map(str::to_owned));
        }
        out.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    out.push_str(rest);
    (out, modules)
}

/// Where the item that begins at `from` ends: after its block or its semicolon.
fn item_end(text: &str, from: usize) -> usize {
    let (mut braces, mut others) = (0i32, 0i32);
    for (i, c) in text.char_indices().filter(|(i, _)| *i >= from) {
        match c {
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces <= 0 {
                    return i + 1;
                }
            }
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            ';' if braces == 0 && others == 0 => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether `word` stands in the line, not as part of a longer name.
pub fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(i, _)| {
        !part_of_name(line[..i].chars().next_back()) && !part_of_name(line[i + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        assert_eq!(mask("a // panic!\nb"), "a          \nb");
        assert_eq!(mask("/* x /* y */ z */b"), format!("{}b", " ".repeat(17)));
        assert_eq!(mask(r#"f("un\"safe") + g"#), r#"f("        ") + g"#);
        assert_eq!(mask(r###"r#"a"b"# c"###), r###"r#"   "# c"###);
        assert_eq!(mask("'\"' 'x' <'a> '\\''"), "' ' ' ' <'a> '  '");
        assert_eq!(mask("\"two\nlines\""), "\"   \n     \"");
        assert_eq!(mask("\"never closed"), "\"            ");
    }

    #[test]
    fn tests_are_left_out() {
        let (code, modules) =
            without_tests("a;\n#[cfg(test)]\nmod t { fn f() { b } }\nc; #[cfg(test)] mod u;\nd");
        assert!(code.contains("a;") && code.contains("c;") && code.ends_with('d'), "{code}");
        assert!(!code.contains('b') && !code.contains("mod"), "{code}");
        assert_eq!(code.lines().count(), 5);
        assert_eq!(modules, ["u"]);
        let (code, _) = without_tests("#[cfg(test)]\n#[allow(x)]\nfn f(a: [u8; 2]) -> u8 { a }\nkept");
        assert_eq!(code.trim(), "kept");
    }

    #[test]
    fn words() {
        assert!(has_word("an unsafe { block }", "unsafe"));
        assert!(!has_word("unsafe_op_in_unsafe_fn", "unsafe"));
        assert!(has_word("std::process::exit(1)", "process::exit"));
    }
}
