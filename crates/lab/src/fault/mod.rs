//! What goes wrong on purpose, and how it is undone.
//!
//! ```text
//!   cut, heal              a link is down               the switch's port
//!   kill, start            a process is gone            SIGKILL; its record starts it again
//!   fault add … --freeze   a process answers nothing    SIGSTOP
//!   fault add … --no-forwarding, --drop-larger, …       sysctl and nftables of a node
//!   fault add … --delay, --loss, --mtu, --nat …         a relay in the link, see `impair`
//! ```
//!
//! Every fault that `fault add` makes is written down before it is made, in a file for its place; so `list` is right and `clear`
//! finds it, whatever was killed in between. What clears a fault does not ask how far making it had come: it makes the state
//! without the fault, from whatever is there. A lab without faults has no relay in any link.

pub(crate) mod command;
mod insertion;
mod node;
mod process;
mod record;
mod relay;

pub(crate) use record::Fault;
