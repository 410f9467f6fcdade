//! `nmreq_options_decode`: takes options apart and hands their values to parsers. Parsers are the
//! caller's, so nothing here knows what an option means.

use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::abi::{
    Context, NMREQ_OPT_MAXKEYS, NMREQ_OPTF_ALLOWEMPTY, NMREQ_OPTF_DISABLED, NMREQ_OPTK_ALLOWEMPTY,
    NMREQ_OPTK_MUSTSET, nmreq_opt_key, nmreq_opt_parser, nmreq_parse_ctx,
};
use crate::given::{Text, shown};

/// Decodes options, `opt`, with the list `parsers`; each parser gets `token`.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_options_decode(
    opt: Text,
    parsers: Option<&nmreq_opt_parser>,
    token: *mut c_void,
    ctx: Context,
) -> c_int {
    decode(opt.bytes(), parsers, token, ctx)
}

/// As [`nmreq_options_decode`].
pub(crate) fn decode(
    text: &[u8],
    parsers: Option<&nmreq_opt_parser>,
    token: *mut c_void,
    ctx: Context,
) -> c_int {
    let Some((&first, options)) = text.split_first() else {
        return 0;
    };
    if first != b'@' {
        let text = shown(text);
        return ctx.fail(
            libc::EINVAL,
            format_args!("'{text}': options start with '@'"),
        );
    }
    for option in options.split(|&b| b == b'@') {
        let rc = decode_one(option, parsers, token, ctx);
        if rc < 0 {
            return rc;
        }
    }
    0
}

/// Decodes one option in a copy, in which values can end with NUL.
fn decode_one(
    option: &[u8],
    parsers: Option<&nmreq_opt_parser>,
    token: *mut c_void,
    ctx: Context,
) -> c_int {
    if option.is_empty() {
        return ctx.fail(
            libc::EINVAL,
            format_args!("an option is missing behind '@'"),
        );
    }
    let len = option.len();
    let Some(copy) = ctx.allocate_bytes(len + 1).map(NonNull::as_ptr) else {
        ctx.no_memory("an option");
        return -1;
    };
    // SAFETY: `copy` has room for the option and a NUL; it is ours until it is freed below.
    let text = unsafe {
        copy.copy_from_nonoverlapping(option.as_ptr(), len);
        copy.add(len).write(0);
        core::slice::from_raw_parts_mut(copy, len + 1)
    };
    let rc = hand_over(option, text, parsers, token, ctx);
    // SAFETY: it is from this context; parsers were told that values last as long as their call.
    unsafe { ctx.free(copy) };
    rc
}

/// Finds the option's parser and calls it with the values in `text`, `option` and a NUL.
fn hand_over(
    option: &[u8],
    text: &mut [u8],
    parsers: Option<&nmreq_opt_parser>,
    token: *mut c_void,
    ctx: Context,
) -> c_int {
    let name_len = option.iter().position(|b| b":=".contains(b));
    let (name, body) = option.split_at(name_len.unwrap_or(option.len()));
    let body_at = name.len() + 1;
    let call = Call {
        name: &shown(name),
        ctx,
    };
    let Some(parser) = list(parsers).find(|parser| parser.prefix.bytes() == name) else {
        return call.refuse(format_args!("there is no such option"));
    };
    let flags = parser.flags.load(Ordering::Relaxed);
    if flags & NMREQ_OPTF_DISABLED != 0 {
        let name = call.name;
        return ctx.fail(
            libc::EOPNOTSUPP,
            format_args!("option '{name}': the option is switched off"),
        );
    }
    let mut values = Values::default();
    let filled = match body.first() {
        None if flags & NMREQ_OPTF_ALLOWEMPTY != 0 => Ok(()),
        None => Err(call.refuse(format_args!("needs ':key=value' or '=value'"))),
        Some(b'=') => call.fill_default(&mut values, parser.default_key, text, body_at),
        Some(_) => call.fill_keys(&mut values, &parser.keys, text, body_at),
    };
    if let Err(rc) = filled {
        return rc;
    }
    let Some(parse) = parser.parse else {
        return call.refuse(format_args!("nothing understands it"));
    };
    let mut arguments = nmreq_parse_ctx {
        ctx,
        token,
        keys: values.map(|at| at.map(|at| Text::within(&text[at..]))),
    };
    // SAFETY: the parser is the caller's, made for these arguments; values point into `text`, which
    // is not touched during the call.
    unsafe { parse(&mut arguments) }
}

/// A list of parsers.
fn list(first: Option<&nmreq_opt_parser>) -> impl Iterator<Item = &nmreq_opt_parser> {
    // SAFETY: the list is whole and lasts as long as its first parser: whoever hands it over
    // changes nothing in it but flags.
    core::iter::successors(first, |parser| unsafe { parser.next.as_ref() })
}

/// Where in the option's text the values of the keys start.
type Values = [Option<usize>; NMREQ_OPT_MAXKEYS];

/// One option on its way.
struct Call<'a> {
    name: &'a str,
    ctx: Context,
}

impl Call<'_> {
    fn refuse(&self, why: core::fmt::Arguments<'_>) -> c_int {
        let name = self.name;
        self.ctx
            .fail(libc::EINVAL, format_args!("option '{name}': {why}"))
    }

    /// `=value`, where the value starts at `at`.
    fn fill_default(
        &self,
        values: &mut Values,
        key: c_int,
        text: &[u8],
        at: usize,
    ) -> Result<(), c_int> {
        let Some(place) = place(values, key) else {
            return Err(self.refuse(format_args!("takes ':key=value', not '=value'")));
        };
        if text[at] == 0 {
            return Err(self.refuse(format_args!("its value is missing")));
        }
        *place = Some(at);
        Ok(())
    }

    /// `:key=value,key=value`, where the first key starts at `at`. Puts a NUL behind each value.
    fn fill_keys(
        &self,
        values: &mut Values,
        keys: &[nmreq_opt_key; NMREQ_OPT_MAXKEYS],
        text: &mut [u8],
        mut at: usize,
    ) -> Result<(), c_int> {
        let last = text.len() - 1;
        while at < last {
            // a key has at least one byte, whatever it is
            let key_end = find(text, at + 1, b"=,\0");
            let has_value = text[key_end] == b'=';
            let value_at = key_end + usize::from(has_value);
            let end = find(text, value_at, b",\0");
            let place = self.place_of_key(values, keys, &text[at..key_end], has_value)?;
            *place = if has_value {
                (end > value_at).then_some(value_at)
            } else {
                Some(at)
            };
            if text[end] == b',' && end + 1 == last {
                return Err(self.refuse(format_args!("a key is missing behind ','")));
            }
            text[end] = 0;
            at = end + 1;
        }
        self.check_mandatory(values, keys)
    }

    /// Where the value of the key that was written as `key` goes. `-` counts as `_`, except in front.
    fn place_of_key<'v>(
        &self,
        values: &'v mut Values,
        keys: &[nmreq_opt_key; NMREQ_OPT_MAXKEYS],
        key: &[u8],
        has_value: bool,
    ) -> Result<&'v mut Option<usize>, c_int> {
        let written = shown(key);
        let same = |known: &[u8]| {
            known.len() == key.len()
                && known.first() == key.first()
                && (known.iter().zip(key)).all(|(k, w)| k == w || (*k == b'_' && *w == b'-'))
        };
        let found = listed(keys).find(|(name, _)| same(name.bytes()));
        let Some((_, found)) = found else {
            return Err(self.refuse(format_args!("it has no key '{written}'")));
        };
        let Some(place) = place(values, found.id) else {
            return Err(self.refuse(format_args!("key '{written}' has no place")));
        };
        if place.is_some() {
            return Err(self.refuse(format_args!("key '{written}' is given twice")));
        }
        if !has_value && found.flags & NMREQ_OPTK_ALLOWEMPTY == 0 {
            return Err(self.refuse(format_args!("key '{written}' needs '=value'")));
        }
        Ok(place)
    }

    fn check_mandatory(
        &self,
        values: &mut Values,
        keys: &[nmreq_opt_key; NMREQ_OPT_MAXKEYS],
    ) -> Result<(), c_int> {
        for (name, key) in listed(keys).filter(|(_, k)| k.flags & NMREQ_OPTK_MUSTSET != 0) {
            if place(values, key.id).is_none_or(|place| place.is_none()) {
                let key = shown(name.bytes());
                return Err(self.refuse(format_args!("it needs key '{key}'")));
            }
        }
        Ok(())
    }
}

/// The keys that there are, with their names.
fn listed(
    keys: &[nmreq_opt_key; NMREQ_OPT_MAXKEYS],
) -> impl Iterator<Item = (&Text, &nmreq_opt_key)> {
    keys.iter().map_while(|k| Some((k.key.as_ref()?, k)))
}

fn place(values: &mut Values, id: c_int) -> Option<&mut Option<usize>> {
    values.get_mut(usize::try_from(id).ok()?)
}

/// Position of the first byte from `at` on that is in `set`. `text` ends with NUL, `set` has it.
fn find(text: &[u8], at: usize, set: &[u8]) -> usize {
    let len = text[at..].iter().position(|b| set.contains(b));
    at + len.unwrap_or(0)
}
