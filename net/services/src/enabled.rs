//! Which services are on.
//!
//! Owns [`Enabled`], what the command line says (`services=echo,http`), and each service's port.

use alloc::string::String;
use core::fmt;
use craton_net::Buffers;

/// A service.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Service {
    Echo,
    Discard,
    Chargen,
    Http,
}

const ALL: [(Service, &str, u16); 4] = [
    (Service::Echo, "echo", 7),
    (Service::Discard, "discard", 9),
    (Service::Chargen, "chargen", 19),
    (Service::Http, "http", 80),
];

impl Service {
    pub(crate) fn port(self) -> u16 {
        ALL[self as usize].2
    }

    /// Thousands ask for pages; few measure how much a stream carries.
    pub(crate) fn buffers(self) -> Buffers {
        match self {
            Service::Discard | Service::Chargen => Buffers::Bulk,
            Service::Echo | Service::Http => Buffers::Small,
        }
    }
}

/// The services that are on.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Enabled([bool; ALL.len()]);

/// There is no service of that name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownService(pub String);

impl Enabled {
    /// Reads a list of names with commas between them; an empty one turns none on.
    ///
    /// # Errors
    ///
    /// If a name is no service's.
    pub fn parse(list: &str) -> Result<Enabled, UnknownService> {
        let mut enabled = Enabled::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let known = ALL.iter().position(|(_, known, _)| *known == name);
            let index = known.ok_or_else(|| UnknownService(name.into()))?;
            enabled.0[index] = true;
        }
        Ok(enabled)
    }

    /// Whether any is on.
    pub fn any(self) -> bool {
        self.0.contains(&true)
    }

    /// The ports that they answer at.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.iter().map(Service::port)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Service> {
        ALL.into_iter().zip(self.0).filter_map(|((service, ..), on)| on.then_some(service))
    }

    pub(crate) fn at(self, port: u16) -> Option<Service> {
        self.iter().find(|service| service.port() == port)
    }
}

impl fmt::Display for UnknownService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no service \"{}\"; there are echo, discard, chargen and http", self.0)
    }
}

impl core::error::Error for UnknownService {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn lists_are_read_and_strangers_named() {
        let enabled = Enabled::parse("http, echo").expect("both are known");
        assert_eq!(enabled.iter().collect::<Vec<_>>(), [Service::Echo, Service::Http]);
        assert_eq!((enabled.at(80), enabled.at(9)), (Some(Service::Http), None));
        assert!(!Enabled::parse("").expect("none is fine").any());
        let error = Enabled::parse("echo,ftp").expect_err("there is no ftp");
        assert!(error.to_string().contains("\"ftp\""));
    }

    #[test]
    fn the_table_is_in_order() {
        for (index, (service, ..)) in ALL.iter().enumerate() {
            assert_eq!(*service as usize, index);
        }
    }
}
