//! The whole state as a download.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::stream;

use super::respond;
use crate::{backup, server::Server, status::Status};

pub(crate) async fn answer(server: &Server) -> Result<Response, Status> {
    let (revision, objects) = server.read(|store| (store.revision(), store.all())).await?;
    let parts = backup::parts(revision, objects).map(|part| Ok::<_, std::convert::Infallible>(Bytes::from(part)));
    let body = Body::from_stream(stream::iter(parts));
    Ok(respond::bytes_of(200, "application/jsonl", body))
}

pub(crate) const PATH: &str = "/backup";
