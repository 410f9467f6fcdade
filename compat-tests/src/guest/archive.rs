//! An archive that the kernel unpacks as a guest's first file system: `cpio`'s format `newc`.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

/// An archive in the making. Names are paths from the root, without a slash in front; a directory comes before what
/// lies in it.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory.
    pub fn directory(&mut self, name: &str) -> &mut Self {
        self.entry(name, DIRECTORY, &[])
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, to: &str) -> &mut Self {
        self.entry(name, SYMLINK, to.as_bytes())
    }

    /// Adds a file of mode `mode`.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entry(name, FILE | mode & 0o7777, content)
    }

    /// Adds a copy of the machine's file `from`.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn copy(&mut self, name: &str, from: &Path) -> &mut Self {
        let copied = self.add_copy(name, from);
        copied.unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        self
    }

    /// Adds the directory `name` with all that is in the machine's directory `from`.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn tree(&mut self, name: &str, from: &Path) -> &mut Self {
        let added = self.add_tree(name, from);
        added.unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        self
    }

    fn add_copy(&mut self, name: &str, from: &Path) -> io::Result<()> {
        let mode = std::fs::metadata(from)?.permissions().mode();
        self.file(name, mode, &std::fs::read(from)?);
        Ok(())
    }

    fn add_tree(&mut self, name: &str, from: &Path) -> io::Result<()> {
        self.directory(name);
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let inner = format!("{name}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add_tree(&inner, &entry.path())?;
            } else if kind.is_symlink() {
                let to = std::fs::read_link(entry.path())?;
                self.entry(&inner, SYMLINK, to.as_os_str().as_bytes());
            } else {
                self.add_copy(&inner, &entry.path())?;
            }
        }
        Ok(())
    }

    /// The finished archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("files of a guest are small");
        let name_size = name.len() as u32 + 1;
        // magic, inode, mode, owner, group, links, time, size, device and its kind, each major and minor, the length
        // of the name, a checksum that this format leaves at 0
        let numbers = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes
                .extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Busybox knows the format; so do others.
    #[test]
    fn another_program_unpacks_it() {
        let files = match crate::apps::guest_files() {
            Ok(files) => files,
            Err(skip) => return crate::report_skip("an archive", &skip),
        };
        let dir = std::env::temp_dir().join(format!("uvale-archive-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        let mut archive = Archive::default();
        archive
            .directory("a")
            .file("a/odd", 0o751, b"three")
            .symlink("link", "a/odd")
            .file("empty", 0o600, b"");
        let mut unpack = Command::new(files.join("busybox"))
            .args(["cpio", "-i"])
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .spawn()
            .expect("busybox starts");
        let mut input = unpack.stdin.take().expect("it was asked for");
        input.write_all(&archive.finish()).expect("it reads");
        drop(input);
        assert!(unpack.wait().expect("a child").success());
        assert_eq!(std::fs::read(dir.join("link")).expect("there"), b"three");
        assert_eq!(std::fs::read(dir.join("empty")).expect("there"), b"");
        let mode = std::fs::metadata(dir.join("a/odd"))
            .expect("there")
            .permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o751
        );
        std::fs::remove_dir_all(&dir).expect("ours");
    }
}
