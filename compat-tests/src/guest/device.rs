//! QEMU's arguments for a guest's devices.

use std::path::Path;

/// A device that a program serves over vfio-user on the socket `socket`.
#[must_use]
pub fn vfio_user(socket: &Path) -> Vec<String> {
    let path = socket.display();
    let device = format!(
        "{{\"driver\":\"vfio-user-pci\",\"socket\":{{\"type\":\"unix\",\"path\":\"{path}\"}}}}"
    );
    vec!["-device".into(), device]
}

/// A virtio-net device with MAC address `mac` on the vhost-user socket `socket`, to which QEMU comes back when it was
/// closed. QEMU names it and its parts `id`.
#[must_use]
pub fn vhost_user(id: &str, socket: &Path, mac: &str) -> Vec<String> {
    let chardev = format!(
        "socket,id=s-{id},path={},reconnect-ms=100",
        socket.display()
    );
    let netdev = format!("vhost-user,id={id},chardev=s-{id}");
    [
        vec!["-chardev".into(), chardev],
        virtio_net(id, &netdev, mac),
    ]
    .concat()
}

/// A virtio-net device with MAC address `mac` on `netdev`, whose id is `id`.
#[must_use]
pub fn virtio_net(id: &str, netdev: &str, mac: &str) -> Vec<String> {
    let device = format!("virtio-net-pci,netdev={id},mac={mac},romfile=");
    vec!["-netdev".into(), netdev.into(), "-device".into(), device]
}
