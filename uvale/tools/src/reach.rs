//! How a program finds the device: what a person may ask for.

/// How a program finds the device.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Reach {
    /// As its file says: notify for what no loader loads, trap for what Go has made and a loader loads, else preload
    #[default]
    Auto,
    /// A library that the program's loader loads first
    Preload,
    /// Its system calls that may be netmap's are handed over to this command, which stays beside it
    Notify,
    /// As preload, and system calls that pass that library by come back to it
    Trap,
}

impl Reach {
    /// As they are written.
    pub const NAMES: [&str; 4] = ["auto", "preload", "notify", "trap"];

    /// How it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The one that is written so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        <Self as clap::ValueEnum>::from_str(name, false).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_option() {
        let ways = Reach::NAMES.map(|name| Reach::named(name).unwrap());
        assert_eq!(ways, <Reach as clap::ValueEnum>::value_variants());
        assert_eq!(ways.map(Reach::name), Reach::NAMES);
        assert_eq!(Reach::named("Auto"), None);
    }
}
