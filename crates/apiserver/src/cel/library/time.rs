//! `timestamp` and `duration`.

use std::cmp::Ordering;

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{STRING_TYPE, Type},
        value::{CowVal, Val},
    },
};
use jiff::{SignedDuration, tz::TimeZone};

use super::{Args, Native, Own, fails, own, text, whole};

/// A moment.
pub(crate) struct Timestamp;

/// A length of time.
pub(crate) struct Duration;

impl Timestamp {
    /// Reads a moment, or the start of a day.
    pub(crate) fn parse(written: &str) -> Option<Own<jiff::Timestamp>> {
        let day = || {
            Some(
                written
                    .parse::<jiff::civil::Date>()
                    .ok()?
                    .to_zoned(TimeZone::UTC)
                    .ok()?
                    .timestamp(),
            )
        };
        written.parse().ok().or_else(day).map(Own)
    }
}

impl Duration {
    /// Reads `1h2m3.5s`, as Go writes it.
    pub(crate) fn parse(written: &str) -> Option<Own<SignedDuration>> {
        let (sign, mut rest) = match written.as_bytes().first()? {
            b'-' => (-1.0, &written[1..]),
            b'+' => (1.0, &written[1..]),
            _ => (1.0, written),
        };
        if rest == "0" {
            return Some(Own(SignedDuration::ZERO));
        }
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..digits].parse().ok()?;
            let (unit, scale) = UNITS.iter().find(|(unit, _)| rest[digits..].starts_with(unit))?;
            seconds += number * scale;
            rest = &rest[digits + unit.len()..];
        }
        (!written.trim_start_matches(['-', '+']).is_empty())
            .then(|| SignedDuration::try_from_secs_f64(sign * seconds).ok().map(Own))?
    }
}

impl Native for jiff::Timestamp {
    const TYPE: &'static Type = &TIMESTAMP;

    fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    fn plus(&self, other: &dyn Val) -> Option<crate::cel::Object> {
        let length = other.downcast_ref::<Own<SignedDuration>>()?.0;
        Some(Box::new(Own(self.checked_add(length).ok()?)))
    }

    fn minus(&self, other: &dyn Val) -> Option<crate::cel::Object> {
        if let Some(other) = other.downcast_ref::<Own<Self>>() {
            return Some(Box::new(Own(self.duration_since(other.0))));
        }
        let length = other.downcast_ref::<Own<SignedDuration>>()?.0;
        Some(Box::new(Own(self.checked_sub(length).ok()?)))
    }
}

impl Native for SignedDuration {
    const TYPE: &'static Type = &DURATION;

    fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    fn plus(&self, other: &dyn Val) -> Option<crate::cel::Object> {
        if let Some(moment) = other.downcast_ref::<Own<jiff::Timestamp>>() {
            return moment.0.plus(&Own(*self));
        }
        let other = other.downcast_ref::<Own<Self>>()?.0;
        Some(Box::new(Own(self.checked_add(other)?)))
    }

    fn minus(&self, other: &dyn Val) -> Option<crate::cel::Object> {
        let other = other.downcast_ref::<Own<Self>>()?.0;
        Some(Box::new(Own(self.checked_sub(other)?)))
    }
}

pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    let (timestamp, duration) = (|| TIMESTAMP.to_owned(), || DURATION.to_owned());
    env.add_overload("timestamp", "string_to_timestamp", vec![STRING_TYPE], |args| {
        let written = Args(&args).text(0)?;
        let parsed = written.parse::<jiff::Timestamp>();
        parsed
            .map(own)
            .map_err(|_| fails("timestamp", format!("parsing time {written:?}: not an RFC 3339 time")))
    })?;
    env.add_overload("timestamp", "timestamp_to_timestamp", vec![timestamp()], same)?;
    env.add_overload("duration", "string_to_duration", vec![STRING_TYPE], |args| {
        let written = Args(&args).text(0)?;
        let parsed = Duration::parse(written);
        parsed
            .map(CowVal::owned)
            .ok_or_else(|| fails("duration", format!("time: invalid duration {written:?}")))
    })?;
    env.add_overload("duration", "duration_to_duration", vec![duration()], same)?;
    env.add_overload("string", "timestamp_to_string", vec![timestamp()], |args| {
        Ok(text(Args(&args).own::<jiff::Timestamp>(0)?.to_string()))
    })?;
    env.add_overload("string", "duration_to_string", vec![duration()], |args| {
        Ok(text(format!(
            "{}s",
            Args(&args).own::<SignedDuration>(0)?.as_secs_f64()
        )))
    })?;
    env.add_overload("int", "timestamp_to_int", vec![timestamp()], |args| {
        Ok(whole(Args(&args).own::<jiff::Timestamp>(0)?.as_second()))
    })?;
    for (name, id, field) in FIELDS {
        env.add_member_overload(name, id, timestamp(), vec![], field)?;
    }
    for (name, id, field) in LENGTHS {
        env.add_member_overload(name, id, duration(), vec![], field)?;
    }
    Ok(())
}

fn same<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    args.pop().ok_or_else(|| super::no_overload("timestamp"))
}

fn part<'b, 'v>(args: &[CowVal<'b, 'v>], read: fn(&jiff::Zoned) -> i64) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(whole(read(
        &Args(args).own::<jiff::Timestamp>(0)?.to_zoned(TimeZone::UTC),
    )))
}

fn length<'b, 'v>(args: &[CowVal<'b, 'v>], read: fn(&SignedDuration) -> i64) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(whole(read(Args(args).own(0)?)))
}

type Field = (&'static str, &'static str, cel::common::functions::Function);

/// What a moment can be asked, in UTC. Months, days of the month and of the year count from zero, but `getDate` from one.
const FIELDS: [Field; 9] = [
    ("getFullYear", "timestamp_year", |args| {
        part(&args, |at| at.year().into())
    }),
    ("getMonth", "timestamp_month", |args| {
        part(&args, |at| i64::from(at.month()) - 1)
    }),
    ("getDate", "timestamp_date", |args| part(&args, |at| at.day().into())),
    ("getDayOfMonth", "timestamp_day_of_month", |args| {
        part(&args, |at| i64::from(at.day()) - 1)
    }),
    ("getDayOfWeek", "timestamp_day_of_week", |args| {
        part(&args, |at| at.weekday().to_sunday_zero_offset().into())
    }),
    ("getDayOfYear", "timestamp_day_of_year", |args| {
        part(&args, |at| i64::from(at.day_of_year()) - 1)
    }),
    ("getHours", "timestamp_hours", |args| part(&args, |at| at.hour().into())),
    ("getMinutes", "timestamp_minutes", |args| {
        part(&args, |at| at.minute().into())
    }),
    ("getSeconds", "timestamp_seconds", |args| {
        part(&args, |at| at.second().into())
    }),
];

/// What a length of time can be asked: the whole of it in other units.
const LENGTHS: [Field; 4] = [
    ("getHours", "duration_hours", |args| {
        length(&args, SignedDuration::as_hours)
    }),
    ("getMinutes", "duration_minutes", |args| {
        length(&args, SignedDuration::as_mins)
    }),
    ("getSeconds", "duration_seconds", |args| {
        length(&args, SignedDuration::as_secs)
    }),
    ("getMilliseconds", "duration_millis", |args| {
        length(&args, |length| i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
    }),
];

/// Longer names first where one starts with another.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

static TIMESTAMP: Type = Type::new_unspecified_type("google.protobuf.Timestamp");
static DURATION: Type = Type::new_unspecified_type("google.protobuf.Duration");
