/// What happened, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Records were given.
    Answered,
    /// The name exists without records of this type.
    NoData,
    /// The name does not exist, or nothing behind it is live.
    NxDomain,
    /// The name is not of our zone.
    Refused,
    /// There is no view yet.
    ServFail,
    /// The query is malformed.
    FormErr,
    /// We do not do this.
    NotImp,
    /// EDNS of a version that we do not speak.
    BadVers,
}

impl Outcome {
    /// All of them, so that metrics exist before they happen.
    pub const ALL: [Self; 8] = [
        Self::Answered,
        Self::NoData,
        Self::NxDomain,
        Self::Refused,
        Self::ServFail,
        Self::FormErr,
        Self::NotImp,
        Self::BadVers,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
            Self::Refused => "refused",
            Self::ServFail => "servfail",
            Self::FormErr => "formerr",
            Self::NotImp => "notimp",
            Self::BadVers => "badvers",
        }
    }

    /// Whether the response speaks for the zone (AA).
    pub(super) fn is_authoritative(self) -> bool {
        matches!(self, Self::Answered | Self::NoData | Self::NxDomain)
    }

    /// The low four bits of the response code, in the header.
    pub(super) fn rcode(self) -> u8 {
        match self {
            Self::Answered | Self::NoData | Self::BadVers => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
        }
    }

    /// The high eight bits of the response code, in the OPT record: BADVERS is 16.
    pub(super) fn extended_rcode(self) -> u8 {
        u8::from(self == Self::BadVers)
    }
}
