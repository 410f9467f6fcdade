//! The text of OpenMetrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::families::Family;

/// Families that are known already, as the crate collects them.
#[derive(Debug)]
struct Known(Vec<Family>);

impl Collector for Known {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let (name, unit) = (family.name, family.unit.as_ref());
            let mut metric = encoder.encode_descriptor(name, family.help, unit, family.kind)?;
            for (labels, value) in &family.samples {
                match family.kind {
                    MetricType::Info => metric.encode_info(labels)?,
                    _ if labels.is_empty() => one(&mut metric, family.kind, *value)?,
                    _ => one(&mut metric.encode_family(labels)?, family.kind, *value)?,
                }
            }
        }
        Ok(())
    }
}

fn one(
    metric: &mut prometheus_client::encoding::MetricEncoder<'_>,
    kind: MetricType,
    value: u64,
) -> fmt::Result {
    match kind {
        MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
        _ => metric.encode_gauge(&value),
    }
}

/// The text, with its end.
pub fn text(families: Vec<Family>) -> Result<String, String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Known(families)));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|e| format!("metrics cannot be written: {e}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::families::{of, tests::world};
    use super::*;

    #[test]
    fn every_metric_has_a_name_with_its_unit_and_is_there_once() {
        let text = text(of(&world())).unwrap();
        for line in [
            "# TYPE uvale info",
            "uvale_info{version=\"1.2\"} 1",
            "# UNIT uvale_uptime_seconds seconds",
            "uvale_uptime_seconds 61",
            "uvale_processes 2",
            "uvale_ports{kind=\"vale\"} 3",
            "uvale_switch_addresses{switch=\"vale0\"} 5",
            "uvale_memory_bytes{mem_id=\"1\"} 4096",
            "uvale_memory_objects_used{mem_id=\"1\",pool=\"buffers\"} 3",
            "# TYPE uvale_ring_packets counter",
            "uvale_ring_packets_total{port=\"vale0:\\\"a\\\"\\\\\\n\",switch=\"vale0\",direction=\"tx\",ring=\"1\"} 4",
            "uvale_ring_bytes_total{port=\"vale0:b\",switch=\"vale0\",direction=\"rx\",ring=\"0\"} 0",
            "uvale_ring_dropped_packets_total{port=\"vale0:\\\"a\\\"\\\\\\n\",switch=\"vale0\",direction=\"rx\",\
             ring=\"0\",reason=\"full\"} 400",
        ] {
            assert_eq!(
                text.lines().filter(|l| *l == line).count(),
                1,
                "{line} in\n{text}"
            );
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
        let mut names: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let count = names.len();
        let key = |line: &str| line.rsplit_once(' ').map(|(key, _)| key.to_owned());
        names.sort_unstable();
        names.dedup_by_key(|line| key(line));
        assert_eq!(names.len(), count, "{text}");
    }
}
