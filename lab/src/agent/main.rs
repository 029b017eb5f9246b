//! The first process of a guest: prepares the system, runs one command, reports, and ends the machine.
//!
//! It is `/init` of the guest's first file system. What it is to do stands in a file beside it
//! ([`plimsoll_lab::request`]); what it has to say goes over a port of its own ([`plimsoll_lab::frame`]).

mod boot;
mod port;
mod work;

use plimsoll_lab::request::{self, Request};
use port::Port;
use rustix::system::{RebootCommand, reboot};

fn main() {
    if rustix::process::getpid().as_raw_nonzero().get() != 1 {
        // Restarting the machine is no way to end when this is not the guest that it was built for.
        eprintln!("lab-agent is the first process of a lab guest and nothing else");
        std::process::exit(2);
    }
    if let Err(fault) = serve() {
        eprintln!("lab-agent: {fault:#}");
    }
    rustix::fs::sync();
    // The emulator was told to end instead of rebooting; that works on machines without ACPI too.
    let _ = reboot(RebootCommand::Restart);
}

fn serve() -> anyhow::Result<()> {
    boot::mount_all()?;
    let request = Request::decode(&std::fs::read(request::PATH)?)?;
    for module in &request.modules {
        boot::load(module)?;
    }
    let port = Port::open()?;
    if let Err(fault) = prepare_and_work(&request, &port) {
        port.fault(&format!("{fault:#}"))?;
        return Err(fault);
    }
    Ok(())
}

fn prepare_and_work(request: &Request, port: &Port) -> anyhow::Result<()> {
    port.hello(rustix::system::uname().release().to_bytes())?;
    boot::install_busybox()?;
    boot::open_all_controllers()?;
    if request.swap {
        boot::swap_on_first_disk()?;
    }
    work::run(request, port)
}
