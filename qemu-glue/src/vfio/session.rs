//! One client: what it asks for, and the answers.

use std::io;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use vfio_bindings::bindings::vfio::*;

use super::message::{Connection, Message};
use super::{Device, Layout, MOST, bad};

const VERSION: u16 = 1;
const DMA_MAP: u16 = 2;
const DMA_UNMAP: u16 = 3;
const DEVICE_GET_INFO: u16 = 4;
const DEVICE_GET_REGION_INFO: u16 = 5;
const DEVICE_GET_IRQ_INFO: u16 = 7;
const DEVICE_SET_IRQS: u16 = 8;
const REGION_READ: u16 = 9;
const REGION_WRITE: u16 = 10;
const DEVICE_RESET: u16 = 13;

/// Bytes of `struct vfio_region_info`.
const REGION_INFO: u32 = size_of::<vfio_region_info>() as u32;
/// Words before the data of a region's read or write: offset, region, count.
const ACCESS: usize = 4;

/// Serves one client until it hangs up. `other` is called once when somebody else wants to connect.
///
/// # Errors
/// It has sent what is no message, or does not take answers.
pub fn run(
    mut client: Connection<'_>,
    layout: &Layout,
    device: &mut dyn Device,
    other: &dyn Fn(),
) -> io::Result<()> {
    while let Some(mut message) = client.receive(other)? {
        let (answer, fd) = match obey(&mut message, layout, device) {
            Ok(answer) => answer,
            Err(_) if message.no_reply() => continue,
            Err(e) => {
                let errno = Errno::from_io_error(&e).unwrap_or(Errno::INVAL);
                client.refuse(&message, errno)?;
                continue;
            }
        };
        if !message.no_reply() {
            client.answer(&message, &answer, fd)?;
        }
    }
    Ok(())
}

/// The body of an answer, and its descriptor.
type Answer<'a> = (Vec<u8>, Option<BorrowedFd<'a>>);

fn obey<'a>(
    message: &mut Message,
    layout: &'a Layout,
    device: &mut dyn Device,
) -> io::Result<Answer<'a>> {
    let body = match message.command {
        VERSION => version(),
        DMA_MAP => {
            let mut fds = std::mem::take(&mut message.fds);
            if fds.len() > 1 {
                return Err(bad("a mapping takes exactly one file"));
            }
            let [offset, guest, len] = [message.long(2)?, message.long(4)?, message.long(6)?];
            device.dma_map(message.word(1)?, offset, guest, len, fds.pop())?;
            Vec::new()
        }
        DMA_UNMAP => {
            let [guest, len] = [message.long(2)?, message.long(4)?];
            device.dma_unmap(message.word(1)?, guest, len)?;
            message.body.get(..24).unwrap_or_default().to_vec()
        }
        DEVICE_GET_INFO => words([
            16,
            VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
            VFIO_PCI_NUM_REGIONS,
            VFIO_PCI_NUM_IRQS,
        ]),
        DEVICE_GET_REGION_INFO => return region(layout, message.word(2)?, message.word(0)?),
        DEVICE_GET_IRQ_INFO => irq(layout, message.word(2)?)?,
        DEVICE_SET_IRQS => {
            let [flags, index, start, count] = [
                message.word(1)?,
                message.word(2)?,
                message.word(3)?,
                message.word(4)?,
            ];
            let fds = std::mem::take(&mut message.fds);
            device.set_irqs(index, flags, start, count, fds)?;
            Vec::new()
        }
        REGION_READ => {
            let (offset, region, count) = access(message)?;
            let mut answer = message.body.get(..4 * ACCESS).unwrap_or_default().to_vec();
            let mut data = vec![0; count];
            device.region_read(region, offset, &mut data)?;
            answer.append(&mut data);
            answer
        }
        REGION_WRITE => {
            let (offset, region, count) = access(message)?;
            let data = message.body.get(4 * ACCESS..).filter(|d| d.len() == count);
            let data = data.ok_or_else(|| bad("fewer bytes than it says"))?;
            device.region_write(region, offset, data)?;
            message.body.get(..4 * ACCESS).unwrap_or_default().to_vec()
        }
        DEVICE_RESET => {
            device.reset()?;
            Vec::new()
        }
        _ => return Err(Errno::OPNOTSUPP.into()),
    };
    Ok((body, None))
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Version 0.0, and what is taken at once.
fn version() -> Vec<u8> {
    let mut answer = vec![0; 4];
    let capabilities = format!(
        "{{\"capabilities\":{{\"max_msg_fds\":1,\"max_data_xfer_size\":{MOST},\"migration\":{{\"pgsize\":4096}}}}}}\0"
    );
    answer.extend(capabilities.bytes());
    answer
}

/// Offset, region and count of a read or write.
fn access(message: &Message) -> io::Result<(u64, u32, usize)> {
    let (offset, region, count) = (
        message.long(0)?,
        message.word(2)?,
        message.word(3)? as usize,
    );
    if region >= VFIO_PCI_NUM_REGIONS || count > MOST {
        return Err(bad("no such region, or too many bytes of it at once"));
    }
    Ok((offset, region, count))
}

/// A region, and where in it something may be mapped, if the client has `room` for that.
fn region(layout: &Layout, index: u32, room: u32) -> io::Result<Answer<'_>> {
    if index >= VFIO_PCI_NUM_REGIONS {
        return Err(bad("no such region"));
    }
    let (size, shown) = layout.region(index);
    let mut flags = match size {
        0 => 0,
        _ => VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
    };
    let Some(shown) = shown else {
        let info = words([REGION_INFO, flags, index, 0]);
        return Ok(([info, longs([size, 0])].concat(), None));
    };
    flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
    // id and version of the capability, the next one, areas, padding; offset and size of the only one.
    let capability = [
        words([VFIO_REGION_INFO_CAP_SPARSE_MMAP | 1 << 16, 0, 1, 0]),
        longs([0, shown.len]),
    ];
    let capability = capability.concat();
    let all = REGION_INFO + capability.len() as u32;
    let mut answer = [words([all, flags, index, REGION_INFO]), longs([size, 0])].concat();
    if room < all {
        return Ok((answer, None));
    }
    answer.extend(capability);
    Ok((answer, Some(uvale_system::sys::borrow(&shown.fd))))
}

fn longs<const N: usize>(longs: [u64; N]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_le_bytes()).collect()
}

fn irq(layout: &Layout, index: u32) -> io::Result<Vec<u8>> {
    if index >= VFIO_PCI_NUM_IRQS {
        return Err(bad("no such interrupts"));
    }
    let is_msix = index == VFIO_PCI_MSIX_IRQ_INDEX && layout.vectors > 0;
    let (flags, count) = match is_msix {
        true => (
            VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
            layout.vectors,
        ),
        false => (0, 0),
    };
    Ok(words([16, flags, index, count]))
}
