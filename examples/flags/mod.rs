//! The flags of the examples: one parser, and one way to refuse a bad command line.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    ops::RangeInclusive,
    process,
};

/// The command line of an example, read once at the start.
pub(crate) struct Flags {
    /// Flags that take a value, each with its value or default.
    values: Vec<(&'static str, String)>,
    /// Flags without a value, each `on` or `off`.
    switches: Vec<(&'static str, String)>,
    /// What stood on the command line beside the flags.
    positionals: Vec<String>,
}

/// Why the command line leads to no [`Flags`].
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// `--help` was given.
    Help,
    /// The command line is wrong; the text says where.
    Refused(String),
}

impl Flags {
    /// Reads the command line of this process.
    ///
    /// `known` maps the name of a flag, without dashes, to its default; an empty default means that
    /// the flag may be absent. `short` gives one-letter names, as in `('c', "connections")`.
    /// `switches` are flags without a value. At most `positionals` other arguments may stand beside
    /// the flags.
    ///
    /// `--help` prints `usage` to standard output and exits with 0; a command line that does not
    /// fit is one line on standard error and exit 2.
    pub(crate) fn parse(
        usage: &str,
        known: &[(&'static str, &'static str)],
        short: &[(char, &'static str)],
        switches: &[&'static str],
        positionals: usize,
    ) -> Flags {
        let arguments = std::env::args_os().skip(1);
        match Flags::read(arguments, known, short, switches, positionals) {
            Ok(flags) => flags,
            Err(Stop::Refused(message)) => fail(2, &message),
            Err(Stop::Help) => {
                // A reader that went away has seen all it wanted: no reason to panic.
                let _ = writeln!(io::stdout(), "{}", usage.trim_end());
                process::exit(0)
            }
        }
    }

    /// The value of a flag, or its default.
    pub(crate) fn text(&self, name: &str) -> &str {
        let mut declared = self.values.iter().chain(&self.switches);
        match declared.find(|(declared, _)| *declared == name) {
            Some((_, text)) => text,
            None => panic!("flag --{name} was never declared"),
        }
    }

    /// The value of a flag; `None` when it is absent and its default is empty.
    pub(crate) fn optional(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// The value of a flag as a number within `range`; anything else ends the program (exit 2).
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<u64>) -> u64 {
        self.checked_number(name, range).unwrap_or_else(|message| fail(2, &message))
    }

    /// The value of a flag as one of `choices`; anything else ends the program (exit 2).
    pub(crate) fn one_of(&self, name: &str, choices: &[&'static str]) -> &'static str {
        self.checked_choice(name, choices).unwrap_or_else(|message| fail(2, &message))
    }

    /// Whether a flag without a value was given.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.one_of(name, &["on", "off"]) == "on"
    }

    /// The argument number `i`, from 0, among those that are not flags.
    pub(crate) fn positional(&self, i: usize) -> Option<&str> {
        self.positionals.get(i).map(String::as_str)
    }

    /// [`Flags::number`] without the exit.
    fn checked_number(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
        let text = self.text(name);
        // `parse` alone would let a plus sign through.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && range.contains(&number) => Ok(number),
            _ => Err(format!(
                "--{name} {text:?} is not a number from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }

    /// [`Flags::one_of`] without the exit.
    fn checked_choice(&self, name: &str, choices: &[&'static str]) -> Result<&'static str, String> {
        let text = self.text(name);
        let found = choices.iter().find(|choice| **choice == text);
        found.copied().ok_or_else(|| format!("--{name} {text:?} is none of {}", choices.join(", ")))
    }

    /// [`Flags::parse`] as a function of its arguments.
    fn read(
        arguments: impl Iterator<Item = OsString>,
        known: &[(&'static str, &'static str)],
        short: &[(char, &'static str)],
        switches: &[&'static str],
        positionals: usize,
    ) -> Result<Flags, Stop> {
        let mut flags = Flags {
            values: known.iter().map(|(name, default)| (*name, (*default).to_owned())).collect(),
            switches: switches.iter().map(|name| (*name, "off".to_owned())).collect(),
            positionals: Vec::new(),
        };
        let mut given = Vec::new();
        let mut arguments = arguments.map(|argument| {
            argument
                .into_string()
                .map_err(|raw| Stop::Refused(format!("argument {raw:?} is not valid UTF-8")))
        });
        while let Some(argument) = arguments.next().transpose()? {
            let Some((shown, name, inline)) = split_flag(&argument, short) else {
                if flags.positionals.len() == positionals {
                    return Err(Stop::Refused(format!("unexpected argument {argument:?}")));
                }
                flags.positionals.push(argument);
                continue;
            };
            if name == "help" && inline.is_none() {
                return Err(Stop::Help);
            }
            let (slot, is_switch) = flags.slot(name).ok_or_else(|| {
                Stop::Refused(format!("unknown flag {shown} (--help lists the flags)"))
            })?;
            let value = match (is_switch, inline) {
                (true, Some(_)) => {
                    return Err(Stop::Refused(format!("flag {shown} takes no value")));
                }
                (true, None) => "on".to_owned(),
                (false, Some(value)) => value.to_owned(),
                // A value that looks like a flag is more likely a forgotten value.
                (false, None) => match arguments.next().transpose()? {
                    Some(value) if !value.starts_with("--") => value,
                    _ => String::new(),
                },
            };
            if value.is_empty() {
                return Err(Stop::Refused(format!("flag {shown} needs a value")));
            }
            if given.contains(&slot.0) {
                return Err(Stop::Refused(format!("flag {shown} is given twice")));
            }
            given.push(slot.0);
            slot.1 = value;
        }
        Ok(flags)
    }

    /// Where the value of a flag goes, and whether it is a switch.
    fn slot(&mut self, name: &str) -> Option<(&mut (&'static str, String), bool)> {
        let values = self.values.iter_mut().map(|slot| (slot, false));
        let switches = self.switches.iter_mut().map(|slot| (slot, true));
        values.chain(switches).find(|(slot, _)| slot.0 == name)
    }
}

/// Shows the command line as it was understood.
///
/// It goes through the public readers on purpose: few examples call every one of them, and one that
/// nobody calls would be dead code in that example.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entries(self.values.iter().map(|(name, _)| (name, self.optional(name))));
        map.entries(self.switches.iter().map(|(name, _)| (name, self.switch(name))));
        map.entries((0..).map_while(|i| self.positional(i).map(|text| (i, text))));
        map.finish()
    }
}

/// Prints one line to standard error and exits with the code.
pub(crate) fn fail(code: i32, message: &str) -> ! {
    // Standard error may be closed; the exit code still tells.
    let _ = writeln!(io::stderr(), "{message}");
    process::exit(code)
}

/// Splits `--name`, `--name=value`, `-n`, `-n=value` or `-nvalue` into the flag as written, its
/// name (empty if unknown) and the value that came with it; `None` for an argument that is no flag.
fn split_flag<'a>(
    argument: &'a str,
    short: &[(char, &'static str)],
) -> Option<(&'a str, &'a str, Option<&'a str>)> {
    if let Some(rest) = argument.strip_prefix("--") {
        return Some(match rest.split_once('=') {
            Some((name, value)) => (&argument[..name.len() + 2], name, Some(value)),
            None => (argument, rest, None),
        });
    }
    let rest = argument.strip_prefix('-')?;
    let letter = rest.chars().next()?;
    let (shown, value) = argument.split_at(1 + letter.len_utf8());
    let name = short.iter().find(|(known, _)| *known == letter).map_or("", |(_, name)| *name);
    let value = (!value.is_empty()).then(|| value.strip_prefix('=').unwrap_or(value));
    Some((shown, name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a command line of an imaginary example.
    fn read(line: &str) -> Result<Flags, Stop> {
        let known = [("listen", "127.0.0.1:8888"), ("threads", ""), ("order", "commit")];
        let arguments = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from);
        Flags::read(arguments, &known, &[('t', "threads"), ('v', "verbose")], &["verbose"], 1)
    }

    /// Checks what a command line is understood as.
    #[track_caller]
    fn check(line: &str, expected: &str) {
        let shown = match read(line) {
            Ok(flags) => format!("{flags:?}"),
            Err(Stop::Help) => "help".to_owned(),
            Err(Stop::Refused(message)) => message,
        };
        assert_eq!(shown, expected, "{line}");
    }

    #[test]
    fn command_lines() {
        let rest = r#""order": Some("commit"), "verbose": false"#;
        let listen = r#""listen": Some("127.0.0.1:8888")"#;
        check("", &format!("{{{listen}, \"threads\": None, {rest}}}"));
        for line in ["--threads 4", "--threads=4", "-t 4", "-t=4", "-t4"] {
            check(line, &format!("{{{listen}, \"threads\": Some(\"4\"), {rest}}}"));
        }
        let on = r#""order": Some("commit"), "verbose": true, 0: "go""#;
        check("go -v", &format!("{{{listen}, \"threads\": None, {on}}}"));
        check("--verbose go", &format!("{{{listen}, \"threads\": None, {on}}}"));
        check("-t 4 --help --bogus", "help");
        check("--bogus=3", "unknown flag --bogus (--help lists the flags)");
        check("-x", "unknown flag -x (--help lists the flags)");
        check("--=3", "unknown flag -- (--help lists the flags)");
        check("go on", r#"unexpected argument "on""#);
        check("--threads", "flag --threads needs a value");
        check("--threads=", "flag --threads needs a value");
        check("--threads --verbose", "flag --threads needs a value");
        check("--verbose=1", "flag --verbose takes no value");
        check("-t 1 --threads=2", "flag --threads is given twice");
        check("-v -v", "flag -v is given twice");
    }

    #[test]
    fn numbers_and_choices() {
        for (text, good) in [("1", true), ("64", true), ("0", false), ("65", false), ("x", false)] {
            let flags = read(&format!("--threads {text}")).unwrap();
            assert_eq!(flags.checked_number("threads", 1..=64).is_ok(), good, "{text}");
        }
        for text in ["+4", "-4", "4.0", "18446744073709551616"] {
            let flags = read(&format!("--threads={text}")).unwrap();
            let refusal = flags.checked_number("threads", 1..=64).unwrap_err();
            assert_eq!(refusal, format!("--threads {text:?} is not a number from 1 to 64"));
        }
        let flags = read("--order random").unwrap();
        let refusal = flags.checked_choice("order", &["commit", "arrival"]).unwrap_err();
        assert_eq!(refusal, "--order \"random\" is none of commit, arrival");
        assert_eq!(read("").unwrap().one_of("order", &["arrival", "commit"]), "commit");
    }
}
