//! `uvale extcap --install`: a link in the folder where Wireshark looks for such programs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use uvale_tools::output::{plain, write};

/// Makes the links.
pub fn run() -> Result<ExitCode, String> {
    let program = std::env::current_exe()
        .map_err(|e| format!("this program's own path is not known: {}", plain(&e)))?;
    for folder in folders()? {
        let link = folder.join("uvale");
        let said = match make(&program, &folder, &link)? {
            true => "is a link to this program now",
            false => "was a link to this program already",
        };
        write(&format!("{} {said}\n", link.display()))?;
    }
    write("tshark -D and Wireshark list the ports\n")?;
    Ok(ExitCode::SUCCESS)
}

/// This user's folders for extcap programs. Wireshark 4.0 and before look below its configuration, later ones below
/// `~/.local/lib`: as tshark says, or both if it is not there.
fn folders() -> Result<Vec<PathBuf>, String> {
    let said = Command::new("tshark")
        .args(["-G", "folders"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    if let Some(folder) = said
        .ok()
        .and_then(|o| named(&String::from_utf8_lossy(&o.stdout)))
    {
        return Ok(vec![folder]);
    }
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let home = set("HOME").ok_or("HOME is not set: nobody knows where Wireshark looks")?;
    let config = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    Ok(vec![
        home.join(".local/lib/wireshark/extcap"),
        config.join("wireshark/extcap"),
    ])
}

/// The personal folder in what `tshark -G folders` says.
fn named(folders: &str) -> Option<PathBuf> {
    let of = |key: &str| {
        let mut lines = folders.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, path)| PathBuf::from(path.trim()))
    };
    let personal = of("Personal Extcap path");
    personal.or_else(|| Some(of("Personal configuration")?.join("extcap")))
}

/// False if the link is there already.
fn make(program: &Path, folder: &Path, link: &Path) -> Result<bool, String> {
    let fail = |e: std::io::Error| format!("{} cannot be made: {}", link.display(), plain(&e));
    std::fs::create_dir_all(folder).map_err(fail)?;
    match std::fs::read_link(link) {
        Ok(to) if to == program => return Ok(false),
        // of another version, or of one that is gone
        Ok(_) => std::fs::remove_file(link).map_err(fail)?,
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(_) => {
            return Err(format!(
                "{} is there and no link: remove it first",
                link.display()
            ));
        }
    }
    std::os::unix::fs::symlink(program, link).map_err(fail)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_what_tshark_says() {
        let old = "Temp:                \t/tmp\nPersonal configuration:\t/h/.config/wireshark\n\
                   Extcap path:         \t/usr/lib/wireshark/extcap\n";
        assert_eq!(named(old), Some("/h/.config/wireshark/extcap".into()));
        let new = format!("{old}Personal Extcap path:\t/h/.local/lib/wireshark/extcap\n");
        assert_eq!(named(&new), Some("/h/.local/lib/wireshark/extcap".into()));
        assert_eq!(named("nothing"), None);
    }
}
