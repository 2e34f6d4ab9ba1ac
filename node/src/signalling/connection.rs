//! Connections that end without a request that a handler saw: what the HTTP library refuses by itself (400, 408 and 431 with
//! an empty body) passes no handler, so this is where it shows.

use std::cell::Cell;
use std::sync::Arc;

use actix_web::dev::{Extensions, ServiceRequest};
use aforo_cluster::metric::Metrics;

/// One connection, from its begin to its end.
struct Connection {
    served: Cell<bool>,
    metrics: Arc<Metrics>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let result = if self.served.get() { "served" } else { "unserved" };
        self.metrics.http_connections_total.with_label_values(&[result]).inc();
    }
}

/// A connection begins; what is known of it ends with it.
pub fn begin(known: &mut Extensions, metrics: &Arc<Metrics>) {
    known.insert(Connection { served: Cell::new(false), metrics: Arc::clone(metrics) });
}

/// A request came over its connection that could be read.
pub fn serves(request: &ServiceRequest) {
    if let Some(connection) = request.request().conn_data::<Connection>() {
        connection.served.set(true);
    }
}
