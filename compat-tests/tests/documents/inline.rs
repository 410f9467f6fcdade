//! `uvale ...` in the text of a document, held against what the program says of itself.

use std::collections::HashMap;
use std::process::Command;

use compat_tests::target;

/// What `uvale` says about its commands, asked once each.
#[derive(Default)]
pub struct Help {
    texts: HashMap<String, Option<String>>,
}

impl Help {
    /// What `uvale COMMAND --help` says, if there is such a command, which may be one below another: `vm vhost`.
    fn of(&mut self, command: &str) -> Option<&str> {
        let text = self.texts.entry(command.into()).or_insert_with(|| {
            let output = Command::new(&target::binaries().uvale)
                .args(command.split(' '))
                .arg("--help")
                .output()
                .expect("uvale starts");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then_some(said)
        });
        text.as_deref()
    }

    /// What is wrong with `uvale WORDS`.
    pub fn fault(&mut self, words: &str) -> Option<String> {
        let mut words = words.split_whitespace();
        let mut command = words.next().unwrap_or_default();
        if command == "help" {
            command = words.next().unwrap_or_default();
        }
        if command.starts_with('-') {
            return None;
        }
        let no_such = |command: &str| Some(format!("no command '{command}'"));
        let Some(help) = self.of(command) else {
            return no_such(command);
        };
        let has_commands = help.contains("<COMMAND>");
        let mut words = words.peekable();
        let below = words.next_if(|word| has_commands && !word.starts_with('-'));
        let command = below.map_or(command.to_owned(), |below| format!("{command} {below}"));
        let Some(help) = self.of(&command) else {
            return no_such(&command);
        };
        // behind `--` begins another program's line
        let options = words.take_while(|w| *w != "--").filter_map(|word| {
            let word = word.trim_start_matches(['[', '(']);
            let name: String = word
                .strip_prefix("--")?
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            Some(format!("--{name}"))
        });
        let unknown: Vec<String> = options
            .filter(|option| !help.split([' ', '\n', ',', '[', '=']).any(|w| w == option))
            .collect();
        (!unknown.is_empty()).then(|| format!("'{command}' has no {}", unknown.join(", ")))
    }
}

#[test]
fn what_does_not_exist_is_found() {
    let mut help = Help::default();
    assert_eq!(help.fault("run --private -- prog --no-such-option"), None);
    assert_eq!(help.fault("stats [--json]"), None);
    assert_eq!(help.fault("help ctl param"), None);
    assert_eq!(help.fault("vm vhost --queues 4"), None);
    assert!(help.fault("vm vhost --spin 4").is_some());
    assert!(help.fault("vm vhots").is_some());
    assert!(help.fault("help statistics").is_some());
    assert!(help.fault("stats --jsn").is_some());
    assert!(help.fault("statistics").is_some());
}
