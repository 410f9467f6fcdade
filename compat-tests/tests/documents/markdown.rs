//! As much of Markdown as our documents use.

use std::path::{Path, PathBuf};

use compat_tests::target;

/// A document, read.
pub struct Document {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name from the root of the tree.
    pub name: String,
    /// Fenced blocks, in order.
    pub blocks: Vec<Block>,
    /// Lines outside of fenced blocks, with their numbers.
    pub text: Vec<(usize, String)>,
}

/// A fenced block and what is said about it.
#[derive(Default)]
pub struct Block {
    /// The number of its first line, the fence.
    pub line: usize,
    /// What stands behind the fence.
    pub language: String,
    /// What is in it, without the fence's indentation.
    pub lines: Vec<String>,
    /// How to run it.
    pub how: How,
    /// The file that it is.
    pub file: Option<String>,
    /// Comments that cannot be understood.
    pub faults: Vec<String>,
}

/// How a block of commands is run.
#[derive(Default)]
pub struct How {
    /// Not at all, for this reason.
    pub skip: Option<String>,
    /// Only where these programs are.
    pub needs: Vec<String>,
    /// Once these ports are there.
    pub after: Vec<String>,
    /// Beside those that follow.
    pub background: bool,
    /// Beside those that follow, and it ends by itself.
    pub ends: bool,
    /// With this result.
    pub status: i32,
}

/// A command and what is shown of its output.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The number of its first line.
    pub line: usize,
    /// As a shell reads it.
    pub text: String,
    /// Lines of output.
    pub output: Vec<String>,
}

impl Document {
    /// Reads it.
    pub fn read(path: &Path) -> Document {
        let text = std::fs::read_to_string(path).expect("a document can be read");
        let name = path.strip_prefix(target::workspace()).expect("of the tree");
        Document::parse(path, &name.display().to_string(), &text)
    }

    fn parse(path: &Path, name: &str, source: &str) -> Document {
        let (mut blocks, mut text) = (Vec::new(), Vec::new());
        let mut comments: Vec<String> = Vec::new();
        let mut lines = source.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let trimmed = line.trim_start();
            if let Some(language) = trimmed.strip_prefix("```") {
                let mut block = Block::new(number + 1, language.trim(), &comments);
                let indentation = line.len() - trimmed.len();
                let inside = lines.by_ref().map(|(_, l)| l);
                let inside = inside.take_while(|l| l.trim_start() != "```");
                block.lines = inside
                    .map(|l| l.get(indentation..).unwrap_or_default().to_string())
                    .collect();
                blocks.push(block);
            } else if let Some(comment) = comment(trimmed) {
                comments.push(comment.into());
                continue;
            } else if trimmed.is_empty() {
                text.push((number + 1, String::new()));
                continue;
            } else {
                text.push((number + 1, line.into()));
            }
            comments.clear();
        }
        Document {
            path: path.into(),
            name: name.into(),
            blocks,
            text,
        }
    }

    /// `file:line`, as editors read it.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    /// Text between backticks, outside of fenced blocks, with its line.
    pub fn code_spans(&self) -> Vec<(usize, String)> {
        let mut spans = Vec::new();
        for (number, line) in &self.text {
            let odd = line.split('`').skip(1).step_by(2);
            spans.extend(odd.map(|span| (*number, span.replace("\\|", "|"))));
        }
        spans
    }

    /// Blocks by indentation, which have no language.
    pub fn indented_blocks(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut in_list = false;
        let mut after_blank = true;
        for (number, line) in &self.text {
            if after_blank && !in_list && line.starts_with("    ") {
                faults.push(format!("{}: a block by indentation", self.place(*number)));
            }
            after_blank = line.is_empty();
            if !after_blank && !line.starts_with(' ') {
                in_list = line.starts_with("- ") || line.starts_with(|c: char| c.is_ascii_digit());
            }
        }
        faults
    }
}

fn comment(line: &str) -> Option<&str> {
    Some(line.strip_prefix("<!--")?.strip_suffix("-->")?.trim())
}

impl Block {
    fn new(line: usize, language: &str, comments: &[String]) -> Block {
        let mut block = Block {
            line,
            language: language.into(),
            ..Block::default()
        };
        for comment in comments {
            if let Some(name) = comment.strip_prefix("file: ") {
                block.file = Some(name.into());
            } else if let Some(how) = comment.strip_prefix("run: ")
                && !block.how.add(how)
            {
                block.faults.push(format!("what is '{comment}'?"));
            }
        }
        block
    }

    /// Are these commands?
    pub fn is_console(&self) -> bool {
        self.language == "console"
    }

    /// The commands of a console block.
    pub fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        let mut open = false;
        for (number, line) in self.lines.iter().enumerate() {
            let last = commands.last_mut();
            match (line.strip_prefix("$ "), last) {
                (Some(text), _) => commands.push(Command {
                    line: self.line + 1 + number,
                    text: text.into(),
                    output: Vec::new(),
                }),
                (None, Some(command)) if open || line.starts_with("> ") => {
                    command.text.push('\n');
                    command
                        .text
                        .push_str(line.strip_prefix("> ").unwrap_or(line));
                }
                (None, Some(command)) => {
                    command.output.push(line.clone());
                    continue;
                }
                (None, None) => continue,
            }
            open = line.ends_with('\\');
        }
        commands
    }
}

impl How {
    /// Takes one comment in; false if it says nothing that is known.
    fn add(&mut self, text: &str) -> bool {
        let words: Vec<&str> = text.split_whitespace().collect();
        let owned = |words: &[&str]| words.iter().map(|w| w.to_string()).collect();
        match words.as_slice() {
            ["background"] => self.background = true,
            ["background", "until", "it", "ends"] => {
                self.background = true;
                self.ends = true;
            }
            ["after", ports @ ..] if !ports.is_empty() => self.after = owned(ports),
            ["needs", names @ ..] if !names.is_empty() => self.needs = owned(names),
            ["skip", "because", why @ ..] if !why.is_empty() => self.skip = Some(why.join(" ")),
            ["status", number] => match number.parse() {
                Ok(status) => self.status = status,
                Err(_) => return false,
            },
            _ => return false,
        }
        true
    }
}

#[test]
fn blocks_are_read_with_what_is_said_about_them() {
    let source = "# Title\n\n<!-- run: skip because it takes a machine -->\n\n```console\n$ one \\\n    two\nsaid\n\
                  $ three <<E\n> text\n> E\n```\n\n- item\n  <!-- run: status 3 -->\n  ```console\n  $ four\n  ```\n\
                  <!-- run: nonsense -->\n```console\n$ five\n```\n<!-- file: a.c -->\n```c\nint a;\n```\n";
    let document = Document::parse(Path::new("x.md"), "x.md", source);
    let blocks = &document.blocks;
    assert_eq!(blocks.len(), 4);
    assert_eq!(blocks[0].how.skip.as_deref(), Some("it takes a machine"));
    let commands = blocks[0].commands();
    assert_eq!(commands[0].text, "one \\\n    two");
    assert_eq!(commands[0].output, ["said"]);
    assert_eq!(commands[0].line, 6);
    assert_eq!(commands[1].text, "three <<E\ntext\nE");
    assert_eq!(
        (blocks[1].how.status, blocks[1].lines[0].as_str()),
        (3, "$ four")
    );
    assert_eq!(blocks[2].faults.len(), 1);
    assert!(
        blocks[2].how.skip.is_none(),
        "a comment holds for one block"
    );
    assert_eq!(blocks[3].file.as_deref(), Some("a.c"));
    let indented = Document::parse(Path::new("x.md"), "x.md", "Text\n\n    $ six\n");
    assert_eq!(indented.indented_blocks().len(), 1);
}
