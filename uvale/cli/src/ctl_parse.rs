//! The numbers of `uvale ctl -C` and `-m`.

/// Rings and slots; 0 for what netmap is to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingConfig {
    /// slots of a tx ring
    pub tx_slots: u32,
    /// slots of an rx ring
    pub rx_slots: u32,
    /// tx rings
    pub tx_rings: u16,
    /// rx rings
    pub rx_rings: u16,
}

/// Polling threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollingConfig {
    /// a processor for each ring
    pub multi: bool,
    /// the first processor
    pub first_cpu: u32,
    /// how many; 0 if not given
    pub cpus: u32,
}

/// `TXSLOTS[,RXSLOTS[,TXRINGS[,RXRINGS]]]`; a number for tx alone is for rx too. vale-ctl ignores
/// what comes behind.
pub fn ring_config(text: Option<&str>) -> Result<RingConfig, String> {
    let numbers = numbers(text.unwrap_or_default())?;
    if numbers.len() > 4 {
        eprintln!("uvale: -C: only the first four numbers are used");
    }
    let at = |i: usize| numbers.get(i).copied();
    let tx_rings = rings(at(2).unwrap_or(0))?;
    let tx_slots = at(0).unwrap_or(0);
    Ok(RingConfig {
        tx_slots,
        rx_slots: at(1).unwrap_or(tx_slots),
        tx_rings,
        rx_rings: at(3).map_or(Ok(tx_rings), rings)?,
    })
}

fn rings(number: u32) -> Result<u16, String> {
    u16::try_from(number).map_err(|_| format!("-C: {number} rings are too many"))
}

/// `MODE[,CPU[,CPUS]]`: mode 0 for one processor, anything else for one per ring.
pub fn polling_config(text: &str) -> Result<PollingConfig, String> {
    let numbers = numbers(text)?;
    let multi = match numbers.first() {
        None => return Err("-C: it takes MODE,CPU[,CPUS]".into()),
        Some(mode) => *mode != 0,
    };
    let cpus = numbers.get(2).copied().unwrap_or(0);
    if numbers.len() > 3 || (!multi && cpus > 1) {
        return Err(format!("-C: too many numbers in '{text}'"));
    }
    Ok(PollingConfig {
        multi,
        first_cpu: numbers.get(1).copied().unwrap_or(0),
        cpus,
    })
}

/// A memory id, if `text` begins like a number.
pub fn mem_id_number(text: &str) -> Result<Option<u16>, String> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(None);
    }
    let number = text.parse();
    number
        .map(Some)
        .map_err(|_| format!("-m: '{text}' is no memory id (0 to 65535)"))
}

/// Numbers between commas; as with strtok, empty ones do not count.
fn numbers(text: &str) -> Result<Vec<u32>, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let number = |part: &str| {
        part.parse()
            .map_err(|_| format!("-C: '{part}' is no number"))
    };
    parts.map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings_of(text: &str) -> (u32, u32, u16, u16) {
        let config = ring_config(Some(text)).unwrap();
        (
            config.tx_slots,
            config.rx_slots,
            config.tx_rings,
            config.rx_rings,
        )
    }

    #[test]
    fn missing_numbers_follow_the_ones_before() {
        assert_eq!(ring_config(None), Ok(RingConfig::default()));
        assert_eq!(rings_of(""), (0, 0, 0, 0));
        assert_eq!(rings_of("512"), (512, 512, 0, 0));
        assert_eq!(rings_of("512,256"), (512, 256, 0, 0));
        assert_eq!(rings_of("512,256,2"), (512, 256, 2, 2));
        assert_eq!(rings_of("512,256,2,4"), (512, 256, 2, 4));
        assert_eq!(rings_of("512,,2"), (512, 2, 0, 0));
        assert_eq!(rings_of("1,2,3,4,5"), (1, 2, 3, 4));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["x", "1,x", "-1", "1,2,70000", "1,2,3,70000", "99999999999"] {
            assert!(ring_config(Some(text)).is_err(), "{text}");
        }
        for text in ["", "x", "0,1,2", "1,2,3,4"] {
            assert!(polling_config(text).is_err(), "{text}");
        }
        for text in ["70000", "3x", "1.5"] {
            assert!(mem_id_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn polling_has_a_mode_a_processor_and_a_number() {
        let config = |multi, first_cpu, cpus| PollingConfig {
            multi,
            first_cpu,
            cpus,
        };
        assert_eq!(polling_config("0,2"), Ok(config(false, 2, 0)));
        assert_eq!(polling_config("0,2,1"), Ok(config(false, 2, 1)));
        assert_eq!(polling_config("1,0,4"), Ok(config(true, 0, 4)));
        assert_eq!(polling_config("1"), Ok(config(true, 0, 0)));
    }

    #[test]
    fn a_memory_is_a_number_or_a_name() {
        assert_eq!(mem_id_number("7"), Ok(Some(7)));
        assert_eq!(mem_id_number("netmap:x"), Ok(None));
        assert_eq!(mem_id_number("vale0:7"), Ok(None));
    }
}
