//! `nmreq_options_decode`: takes options apart and hands their values to parsers. Parsers are the
//! caller's, so nothing here knows what an option means.

use core::ffi::{c_char, c_int, c_void};
use core::ptr::null;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::abi::{
    NMREQ_OPT_MAXKEYS, NMREQ_OPTF_ALLOWEMPTY, NMREQ_OPTF_DISABLED, NMREQ_OPTK_ALLOWEMPTY,
    NMREQ_OPTK_MUSTSET, nmctx, nmreq_opt_key, nmreq_opt_parser, nmreq_parse_ctx,
};
use crate::context::Context;
use crate::request::{bytes_of, shown};

/// Decodes options, `opt`, with the list `parsers`; each parser gets `token`.
///
/// # Safety
/// `opt` is a C string; `parsers` is a list of parsers with C strings and functions in them, or
/// null; `ctx` points to a living context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_options_decode(
    opt: *const c_char,
    parsers: *mut nmreq_opt_parser,
    token: *mut c_void,
    ctx: *mut nmctx,
) -> c_int {
    // SAFETY: by contract.
    let (ctx, text) = unsafe { (Context::new(ctx), bytes_of(opt)) };
    // SAFETY: by contract.
    unsafe { decode(text, parsers, token, ctx) }
}

/// As [`nmreq_options_decode`].
///
/// # Safety
/// The same.
pub(crate) unsafe fn decode(
    text: &[u8],
    parsers: *mut nmreq_opt_parser,
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
        // SAFETY: by contract.
        let rc = unsafe { decode_one(option, parsers, token, ctx) };
        if rc < 0 {
            return rc;
        }
    }
    0
}

/// Decodes one option in a copy, in which values can end with NUL.
unsafe fn decode_one(
    option: &[u8],
    parsers: *mut nmreq_opt_parser,
    token: *mut c_void,
    ctx: Context,
) -> c_int {
    if option.is_empty() {
        return ctx.fail(
            libc::EINVAL,
            format_args!("an option is missing behind '@'"),
        );
    }
    let Some(copy) = ctx.allocate_bytes(option.len() + 1, "an option") else {
        return -1;
    };
    // SAFETY: `copy` has room for the option and a NUL; it is ours until it is freed below.
    let text = unsafe {
        copy.copy_from_nonoverlapping(option.as_ptr(), option.len());
        copy.add(option.len()).write(0);
        core::slice::from_raw_parts_mut(copy, option.len() + 1)
    };
    // SAFETY: by contract of `decode`; the text ends with NUL.
    let rc = unsafe { hand_over(option, text, parsers, token, ctx) };
    // SAFETY: it is from this context; parsers were told that values last as long as their call.
    unsafe { ctx.free(copy) };
    rc
}

/// Finds the option's parser and calls it with the values in `text`, `option` and a NUL.
unsafe fn hand_over(
    option: &[u8],
    text: &mut [u8],
    parsers: *mut nmreq_opt_parser,
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
    // SAFETY: by contract of `decode`.
    let Some(parser) = (unsafe { find_parser(name, parsers) }) else {
        return call.refuse(format_args!("there is no such option"));
    };
    // SAFETY: the parser is alive; its flags may be changed by other threads (`load_flags`), the
    // rest may not.
    let (flags, default_key, keys, parse) = unsafe {
        let p = parser;
        (load_flags(p), (*p).default_key, &(*p).keys, (*p).parse)
    };
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
        Some(b'=') => call.fill_default(&mut values, default_key, text, body_at),
        // SAFETY: the parser's keys are C strings, by contract.
        Some(_) => unsafe { call.fill_keys(&mut values, keys, text, body_at) },
    };
    if let Err(rc) = filled {
        return rc;
    }
    let Some(parse) = parse else {
        return call.refuse(format_args!("nothing understands it"));
    };
    let mut arguments = nmreq_parse_ctx {
        ctx: ctx.as_ptr(),
        token,
        keys: values.map(|at| at.map_or(null(), |at| text[at..].as_ptr().cast())),
    };
    // SAFETY: the parser is the caller's, made for these arguments; values point into `text`, which
    // is not touched during the call and has a NUL behind each.
    unsafe { parse(&raw mut arguments) }
}

/// The parser of the option `name`.
unsafe fn find_parser(
    name: &[u8],
    parsers: *mut nmreq_opt_parser,
) -> Option<*mut nmreq_opt_parser> {
    let mut parser = parsers;
    while !parser.is_null() {
        // SAFETY: the list is whole and its names are C strings, by contract of `decode`.
        unsafe {
            if bytes_of((*parser).prefix) == name {
                return Some(parser);
            }
            parser = (*parser).next;
        }
    }
    None
}

/// A parser's flags.
///
/// # Safety
/// The parser is alive; its flags are changed by whole words only.
pub(crate) unsafe fn load_flags(parser: *mut nmreq_opt_parser) -> u32 {
    // SAFETY: by contract; the field is aligned.
    unsafe { AtomicU32::from_ptr(&raw mut (*parser).flags) }.load(Ordering::Relaxed)
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
    unsafe fn fill_keys(
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
            // SAFETY: by contract.
            let place = unsafe { self.place_of_key(values, keys, &text[at..key_end], has_value)? };
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
    unsafe fn place_of_key<'v>(
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
        // SAFETY: the keys up to the first null are C strings, by contract.
        let found = listed(keys).find(|k| same(unsafe { bytes_of(k.key) }));
        let Some(found) = found else {
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
        for key in listed(keys).filter(|k| k.flags & NMREQ_OPTK_MUSTSET != 0) {
            if place(values, key.id).is_none_or(|place| place.is_none()) {
                // SAFETY: a listed key is a C string.
                let key = shown(unsafe { bytes_of(key.key) });
                return Err(self.refuse(format_args!("it needs key '{key}'")));
            }
        }
        Ok(())
    }
}

/// The keys that there are.
fn listed(keys: &[nmreq_opt_key; NMREQ_OPT_MAXKEYS]) -> impl Iterator<Item = &nmreq_opt_key> {
    keys.iter().take_while(|k| !k.key.is_null())
}

fn place(values: &mut Values, id: c_int) -> Option<&mut Option<usize>> {
    values.get_mut(usize::try_from(id).ok()?)
}

/// Position of the first byte from `at` on that is in `set`. `text` ends with NUL, `set` has it.
fn find(text: &[u8], at: usize, set: &[u8]) -> usize {
    let len = text[at..].iter().position(|b| set.contains(b));
    at + len.unwrap_or(0)
}
