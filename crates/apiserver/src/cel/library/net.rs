//! `ip`, `cidr` and what they can be asked.

use std::net::IpAddr;

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{STRING_TYPE, Type},
        value::CowVal,
    },
};
use ipnet::IpNet;

use super::{Args, Native, fails, own, text, truth, whole};

impl Native for IpAddr {
    const TYPE: &'static Type = &IP;
}

impl Native for IpNet {
    const TYPE: &'static Type = &CIDR;
}

pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    let (ip, cidr) = (|| IP.to_owned(), || CIDR.to_owned());
    env.add_overload("ip", "string_to_ip", vec![STRING_TYPE], |args| {
        parse_ip(Args(&args).text(0)?).map(own)
    })?;
    env.add_overload("cidr", "string_to_cidr", vec![STRING_TYPE], |args| {
        parse_cidr(Args(&args).text(0)?).map(own)
    })?;
    env.add_overload("isIP", "is_ip", vec![STRING_TYPE], |args| {
        Ok(truth(parse_ip(Args(&args).text(0)?).is_ok()))
    })?;
    env.add_overload("isCIDR", "is_cidr", vec![STRING_TYPE], |args| {
        Ok(truth(parse_cidr(Args(&args).text(0)?).is_ok()))
    })?;
    env.add_overload("ip.isCanonical", "ip_is_canonical", vec![STRING_TYPE], |args| {
        let written = Args(&args).text(0)?;
        Ok(truth(parse_ip(written)?.to_string() == written))
    })?;
    env.add_overload("string", "ip_to_string", vec![ip()], |args| {
        Ok(text(Args(&args).own::<IpAddr>(0)?.to_string()))
    })?;
    env.add_overload("string", "cidr_to_string", vec![cidr()], |args| {
        Ok(text(Args(&args).own::<IpNet>(0)?.to_string()))
    })?;

    env.add_member_overload("family", "ip_family", ip(), vec![], |args| {
        Ok(whole(if Args(&args).own::<IpAddr>(0)?.is_ipv4() { 4 } else { 6 }))
    })?;
    env.add_member_overload("isUnspecified", "ip_unspecified", ip(), vec![], |args| {
        asks(&args, IpAddr::is_unspecified)
    })?;
    env.add_member_overload("isLoopback", "ip_loopback", ip(), vec![], |args| {
        asks(&args, IpAddr::is_loopback)
    })?;
    env.add_member_overload(
        "isLinkLocalMulticast",
        "ip_link_local_multicast",
        ip(),
        vec![],
        |args| {
            asks(&args, |ip| match ip {
                IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
                IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
            })
        },
    )?;
    env.add_member_overload("isLinkLocalUnicast", "ip_link_local_unicast", ip(), vec![], |args| {
        asks(&args, is_link_local)
    })?;
    env.add_member_overload("isGlobalUnicast", "ip_global_unicast", ip(), vec![], |args| {
        asks(&args, |ip| {
            let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip))
        })
    })?;

    env.add_member_overload("ip", "cidr_ip", cidr(), vec![], |args| {
        Ok(own(Args(&args).own::<IpNet>(0)?.addr()))
    })?;
    env.add_member_overload("masked", "cidr_masked", cidr(), vec![], |args| {
        Ok(own(Args(&args).own::<IpNet>(0)?.trunc()))
    })?;
    env.add_member_overload("prefixLength", "cidr_prefix_length", cidr(), vec![], |args| {
        Ok(whole(Args(&args).own::<IpNet>(0)?.prefix_len().into()))
    })?;
    env.add_member_overload("containsIP", "cidr_contains_ip", cidr(), vec![ip()], |args| {
        let args = Args(&args);
        Ok(truth(args.own::<IpNet>(0)?.contains(args.own::<IpAddr>(1)?)))
    })?;
    env.add_member_overload(
        "containsIP",
        "cidr_contains_ip_text",
        cidr(),
        vec![STRING_TYPE],
        |args| {
            let args = Args(&args);
            Ok(truth(args.own::<IpNet>(0)?.contains(&parse_ip(args.text(1)?)?)))
        },
    )?;
    env.add_member_overload("containsCIDR", "cidr_contains_cidr", cidr(), vec![cidr()], |args| {
        let args = Args(&args);
        Ok(truth(args.own::<IpNet>(0)?.trunc().contains(args.own::<IpNet>(1)?)))
    })?;
    env.add_member_overload(
        "containsCIDR",
        "cidr_contains_cidr_text",
        cidr(),
        vec![STRING_TYPE],
        |args| {
            let args = Args(&args);
            Ok(truth(
                args.own::<IpNet>(0)?.trunc().contains(&parse_cidr(args.text(1)?)?),
            ))
        },
    )
}

fn asks<'b, 'v>(args: &[CowVal<'b, 'v>], question: fn(&IpAddr) -> bool) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(truth(question(Args(args).own(0)?)))
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Addresses have no zone, and v4 is not written as v6.
fn parse_ip(written: &str) -> Result<IpAddr, ExecutionError> {
    let why = || {
        fails(
            "ip",
            format!("IP Address {written:?} parse error during conversion from string"),
        )
    };
    let address: IpAddr = written.parse().map_err(|_| why())?;
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(fails(
            "ip",
            format!("IPv4-mapped IPv6 address {written:?} is not allowed"),
        )),
        address => Ok(address),
    }
}

fn parse_cidr(written: &str) -> Result<IpNet, ExecutionError> {
    let parsed: Option<IpNet> = written.parse().ok();
    parsed
        .filter(|cidr| !matches!(cidr.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()))
        .ok_or_else(|| {
            fails(
                "cidr",
                format!("CIDR {written:?} parse error during conversion from string"),
            )
        })
}

static IP: Type = Type::new_unspecified_type("net.IP");
static CIDR: Type = Type::new_unspecified_type("net.CIDR");
