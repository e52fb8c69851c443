//! The own exports: what the clusterset is told of every `ServiceExport`.

use std::collections::BTreeMap;

use clusterset::exports::{self, Backend, Exported, Refusal};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use model::{PrefixSet, ServiceKey};

use super::convert;
use super::world::World;

/// Every `ServiceExport` with what became of it.
pub(super) type OwnExports = BTreeMap<ServiceKey, Result<Exported, Refusal>>;

/// Decides all own exports. `pods` are the own pod prefixes that are accepted.
pub(super) fn own(world: &World, pods: &PrefixSet) -> OwnExports {
    let services: BTreeMap<ServiceKey, &Service> = world
        .local
        .services
        .iter()
        .filter(|service| service.metadata.deletion_timestamp.is_none())
        .map(|service| (key(service.as_ref()), service.as_ref()))
        .collect();
    let backends = backends(world);
    let wanted = world.local.exports.iter();
    wanted
        .filter(|export| export.metadata.deletion_timestamp.is_none())
        .map(|export| {
            let request = convert::request(export);
            let service = services.get(&request.key).map(|service| convert::service(service));
            let backends = backends.get(&request.key).map_or(&[][..], Vec::as_slice);
            let exported = exports::export(&world.cluster, &request, service.as_ref(), backends, pods);
            (request.key, exported)
        })
        .collect()
}

/// The service that an object of its name concerns.
pub(super) fn key(object: &impl ResourceExt) -> ServiceKey {
    ServiceKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// Endpoints of the services that are to be exported.
fn backends(world: &World) -> BTreeMap<ServiceKey, Vec<Backend>> {
    let mut backends: BTreeMap<ServiceKey, Vec<Backend>> = world
        .local
        .exports
        .iter()
        .map(|export| (key(export.as_ref()), Vec::new()))
        .collect();
    for slice in &world.local.slices {
        if let Some(service) = slice.labels().get(SERVICE_NAME_LABEL) {
            let key = ServiceKey::new(slice.namespace().unwrap_or_default(), service);
            if let Some(of_service) = backends.get_mut(&key) {
                of_service.extend(convert::backends(slice));
            }
        }
    }
    backends
}

/// On the EndpointSlices of a cluster's own services.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
