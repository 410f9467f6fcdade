//! The steps of a case.

use uvale_frame::{Expected, Fields, Filter, change, from_hex, has, summary, wrong_checksum};

use super::commands::{command, prints};
use super::fill::{fields, fill, learnt};
use super::matching::{Search, Wanted, left_over};
use super::network::Place;
use super::order::Order;
use super::programs::Program;
use super::running::{Running, Same};
use super::why::{Done, counted, failed, range};
use crate::plan::{Action, Count, Frame, Step, Verdict};

/// Carries out a step.
pub fn carry_out(running: &mut Running<'_>, step: &Step) -> Done {
    running.line = Some(step.line);
    match &step.action {
        Action::Send { on, frames } => send(running, on, frames),
        Action::Expect {
            on,
            frames,
            is_ordered,
        } => expect(running, on, frames, *is_ordered),
        Action::ExpectSame {
            on,
            port,
            change,
            is_ordered,
        } => expect_same(running, on, [port, &shown(change)], change, *is_ordered),
        Action::ExpectMatching {
            on,
            filter,
            count,
            fields,
            learn,
        } => {
            let found = expect_matching(running, on, filter.as_deref(), *count, fields)?;
            for (name, field) in learn {
                let last = found.last();
                let value = last.and_then(|frame| uvale_frame::get(frame, field));
                let value = value.ok_or_else(|| {
                    let why = match last {
                        None => format!("{name}: no frame came to learn {field} of"),
                        Some(frame) => {
                            format!("{name}: this frame has no {field}: {}", summary(frame))
                        }
                    };
                    failed(step.line, why)
                })?;
                running.learnt.insert(name.clone(), value);
            }
            Ok(())
        }
        Action::Nothing { on } => nothing(running, &[on]),
        Action::Prints {
            program,
            text,
            count,
        } => prints(running, program, text, *count),
        Action::Run {
            run,
            namespace,
            status,
        } => command(running, run, Place::of(namespace.as_ref()), *status),
    }
}

/// A frame with what was learnt.
fn built(running: &Running<'_>, frame: &Frame) -> Done<Vec<u8>> {
    let bytes = match frame {
        Frame::Bytes(hex) => from_hex(hex),
        Frame::Fields(given) => {
            let filled = fields(given, &running.learnt).map_err(|why| running.wrong(why))?;
            uvale_frame::build(&filled)
        }
    };
    bytes.map_err(|why| running.wrong(why))
}

fn send(running: &mut Running<'_>, on: &str, frames: &[Frame]) -> Done {
    let frames = frames.iter().map(|frame| built(running, frame));
    let frames = frames.collect::<Done<Vec<_>>>()?;
    let all = frames.len();
    running.wait_for_reader(on)?;
    running.end(on)?.send(frames);
    let sent = running.until(|running| Ok(running.end(on)?.has_sent().then_some(())))?;
    if sent.is_some() {
        return Ok(());
    }
    let left = running.end(on)?.waiting();
    let name = running.names.get(on)?.program.clone();
    let ports = running.ports_for_people()?;
    Err(running.wrong(format!(
        "{left} of {} could not be sent to port {on} ({name}) {}: nobody reads there; {ports}{}",
        counted(all, "frame"),
        running.waited,
        said(running, on),
    )))
}

/// What the program of a port said last.
fn said(running: &Running<'_>, port: &str) -> String {
    let programs = running.run.programs.iter().zip(&running.programs);
    let of_port: Vec<&Program> = programs
        .filter(|(planned, _)| planned.opens.iter().any(|opened| opened == port))
        .map(|(_, program)| program)
        .collect();
    let one = |program: &Program| match program.said() {
        said if said.is_empty() => String::new(),
        said => format!("\n{}:{said}", program.shown),
    };
    of_port.into_iter().map(one).collect()
}

/// Of frames that came to the tester from itself.
fn own(heard: usize) -> String {
    match heard {
        0 => String::new(),
        n => format!(
            "\nbesides, {} came that the tester itself sent on this switch, which counts for no answer",
            counted(n, "frame")
        ),
    }
}

/// What of a search has not come.
fn missing(running: &mut Running<'_>, on: &str, search: &Search) -> Verdict {
    let said = said(running, on);
    let waited = running.waited.clone();
    let end = match running.end(on) {
        Ok(end) => end,
        Err(verdict) => return verdict,
    };
    let why = format!(
        "port {on}: {} of {} did not come {waited}{}{}{said}",
        search.left(),
        counted(search.len(), "expected frame"),
        search.complaint(&end.came),
        own(end.heard),
    );
    running.wrong(why)
}

/// A search at `on`, in the order that the step means: that of frames from `ports` to there.
fn search<'p>(
    running: &mut Running<'_>,
    on: &str,
    ports: impl IntoIterator<Item = &'p str>,
    is_ordered: bool,
) -> Done<Search> {
    let mut has_one_ring = running.end(on)?.has_one_ring();
    for port in ports {
        has_one_ring &= running.end(port)?.has_one_ring();
    }
    let order = match (is_ordered, has_one_ring) {
        (false, _) => Order::None,
        (true, false) => Order::OfFlows,
        (true, true) => Order::Whole,
    };
    Ok(Search::new(order, running.end(on)?.passed.clone()))
}

fn expect(running: &mut Running<'_>, on: &str, frames: &[Frame], is_ordered: bool) -> Done {
    // They may be answers to whatever was sent.
    let ends = running.tester.ends.iter();
    let used = ends.filter(|end| end.given > 0);
    let ports: Vec<String> = used.map(|end| end.name.clone()).collect();
    let mut search = search(running, on, ports.iter().map(String::as_str), is_ordered)?;
    for frame in frames {
        search.add(Wanted::exactly(built(running, frame)?));
    }
    let line = running.line.unwrap_or_default();
    let found = running.until(|running| {
        search.look(&mut running.end(on)?.came, line);
        Ok(search.is_done().then_some(()))
    })?;
    if found.is_none() {
        return Err(missing(running, on, &search));
    }
    running.end(on)?.passed = search.into_passed();
    Ok(())
}

/// Fields for people.
fn shown(fields: &Fields) -> String {
    let mut all = Vec::new();
    list("", fields, &mut all);
    all.join(", ")
}

/// `ip.ttl = 63` of each, whether it is given with dots or in tables.
fn list(before: &str, fields: &Fields, all: &mut Vec<String>) {
    for (name, value) in fields {
        let name = format!("{before}{name}");
        match value {
            serde_json::Value::Object(table) => list(&format!("{name}."), table, all),
            serde_json::Value::String(text) => all.push(format!("{name} = {text}")),
            other => all.push(format!("{name} = {other}")),
        }
    }
}

/// What has left for `port`, behind its bad wire if it has one, comes on `on`.
fn expect_same(
    running: &mut Running<'_>,
    on: &str,
    [port, shown]: [&str; 2],
    changed: &Fields,
    is_ordered: bool,
) -> Done {
    let changed = fields(changed, &running.learnt).map_err(|why| running.wrong(why))?;
    let line = running.line.unwrap_or_default();
    let pair = (port.to_owned(), on.to_owned());
    let before = running.same.get(&pair).copied().unwrap_or_default();
    let given = running.end(port)?.given;
    if given == before.given {
        let since = match before.line {
            0 => String::new(),
            line => format!(" since the step of line {line}"),
        };
        let why = format!(
            "nothing has been sent on port {port}{since}, so nothing can come on port {on} that is the same"
        );
        return Err(running.wrong(why));
    }
    let mut sent = before.sent;
    let mut search = search(running, on, [port], is_ordered)?;
    let found = running.until(|running| {
        // A slow wire lets frames go while others come already.
        let from = running.end(port)?;
        let is_all = from.is_idle();
        let mut why = None;
        for frame in &from.sent[sent..] {
            sent += 1;
            let bytes = &frame.bytes;
            let wanted = match changed.is_empty() {
                true => Ok(Expected::exactly(bytes.clone())),
                false => change(bytes, &changed),
            };
            match wanted {
                Ok(wanted) => search.add(Wanted::changed(wanted, bytes.clone(), shown.to_owned())),
                Err(wrong) => why = Some(format!("{wrong}, in what was sent: {}", summary(bytes))),
            }
        }
        if let Some(why) = why {
            return Err(running.wrong(why));
        }
        search.look(&mut running.end(on)?.came, line);
        Ok((is_all && search.is_done()).then_some(()))
    })?;
    if found.is_none() {
        return Err(missing(running, on, &search));
    }
    running.end(on)?.passed = search.into_passed();
    running.same.insert(pair, Same { sent, given, line });
    Ok(())
}

/// Takes frames that match, and gives them.
fn expect_matching(
    running: &mut Running<'_>,
    on: &str,
    filter: Option<&str>,
    count: Count,
    wanted: &Fields,
) -> Done<Vec<Vec<u8>>> {
    let filter = filter.map(|text| fill(text, &|name| learnt(&running.learnt, name)));
    let filter = filter.transpose().map_err(|why| running.wrong(why))?;
    let parsed = filter.as_deref().map(str::parse::<Filter>);
    let parsed = parsed.transpose().map_err(|why| running.wrong(why))?;
    let wanted = fields(wanted, &running.learnt).map_err(|why| running.wrong(why))?;
    let line = running.line.unwrap_or_default();
    let mut found = Vec::new();
    let mut looked = 0;
    let mut look = |running: &mut Running<'_>, most: u64| -> Done<u64> {
        let end = running.end(on)?;
        let mut misfit = None;
        for frame in end.came.iter_mut().skip(looked) {
            if found.len() as u64 >= most {
                break;
            }
            looked += 1;
            let is_it = parsed
                .as_ref()
                .is_none_or(|filter| filter.matches(&frame.bytes));
            if frame.taken.is_some() || !is_it {
                continue;
            }
            if !has(&frame.bytes, &wanted) {
                let why = uvale_frame::misfits(&frame.bytes, &wanted);
                misfit = Some((frame.bytes.clone(), why));
                break;
            }
            let is_asked = parsed.is_some() || !wanted.is_empty();
            let wrong = is_asked.then(|| wrong_checksum(&frame.bytes, parsed.as_ref(), &wanted));
            if let Some(why) = wrong.flatten() {
                misfit = Some((frame.bytes.clone(), why));
                break;
            }
            frame.taken = Some(line);
            found.push(frame.bytes.clone());
        }
        match misfit {
            None => Ok(found.len() as u64),
            Some((frame, why)) => Err(running.wrong(misfits(on, filter.as_deref(), &why, &frame))),
        }
    };
    // Of an exact number no more are taken: those fail the case at its end, but where it ignores them. Else all that
    // come are counted.
    let is_ignored = running.run.ignore.iter().any(|port| port == on);
    let is_exact = count.min == count.max && count.min > 0 && !is_ignored;
    let most = if is_exact { count.max } else { u64::MAX };
    let enough = running.until(|running| Ok((look(running, most)? >= count.min).then_some(())))?;
    if enough.is_some() && !is_exact {
        running.settle()?;
        look(running, most)?;
    }
    let n = found.len() as u64;
    if enough.is_some() && n <= count.max {
        return Ok(found);
    }
    let what = filter.map_or(String::new(), |filter| format!(" that match `{filter}`"));
    let range = range(count);
    let within = match n > count.max {
        true => String::new(),
        false => format!(" {}", running.waited),
    };
    let said = said(running, on);
    let end = running.end(on)?;
    let left = left_over(&end.came) + &own(end.heard);
    Err(running.wrong(format!(
        "port {on}: {} came{within}{what}, expected {range}{left}{said}",
        counted(found.len(), "frame")
    )))
}

/// A frame matches the filter and is not as it must be: why, a line for each reason.
fn misfits(on: &str, filter: Option<&str>, why: &str, frame: &[u8]) -> String {
    let which = filter.map_or("a frame".to_owned(), |f| {
        format!("a frame that matches `{f}`")
    });
    let mut text = format!("port {on}: {which} is not as expected: {}", summary(frame));
    for line in why.lines() {
        text += &format!("\n  {line}");
    }
    text
}

/// Nothing comes at these ports that no step has taken.
pub fn nothing(running: &mut Running<'_>, ports: &[&str]) -> Done {
    running.settle()?;
    for port in ports {
        let end = running.end(port)?;
        if end.came.iter().any(|frame| frame.taken.is_none()) {
            let why = format!("port {port}: nothing was to come{}", left_over(&end.came));
            return Err(running.wrong(why));
        }
    }
    Ok(())
}

/// Programs have been stopped, and have sent nothing meanwhile.
pub fn nothing_at_the_end(running: &mut Running<'_>) -> Done {
    running.tester.take_the_rest();
    let Running { tester, run, .. } = running;
    for end in tester
        .ends
        .iter()
        .filter(|end| !run.ignore.contains(&end.name))
    {
        if end.came.iter().any(|frame| frame.taken.is_none()) {
            let (port, left) = (&end.name, left_over(&end.came));
            let why =
                format!("port {port}: nothing was to come when programs were told to end{left}");
            return Err(failed(None, why));
        }
    }
    Ok(())
}
