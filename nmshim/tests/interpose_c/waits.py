# Python's select module on the test device, alone and beside a pipe.
import fcntl, os, select, stat, threading, time

BIND, PUSH, TAKE = 0x4601, 0x4602, 0x4603


def later(f):
    t = threading.Timer(0.05, f)
    t.start()
    return t


fd = os.open("/dev/netmap", os.O_RDWR)
assert stat.S_ISCHR(os.fstat(fd).st_mode) and os.get_inheritable(fd) is False
fcntl.ioctl(fd, BIND, 0)
r, w = os.pipe()
push = lambda: fcntl.ioctl(fd, PUSH, 1)
take = lambda: fcntl.ioctl(fd, TAKE, 1)

assert select.select([fd, r], [w], [], 0) == ([], [w], [])
t = later(push)
assert select.select([fd, r], [], [], 5)[0] == [fd]
t.join()
take()

p = select.poll()
p.register(fd, select.POLLIN)
p.register(r, select.POLLIN)
assert p.poll(10) == []
t = later(push)
assert p.poll(5000) == [(fd, select.POLLIN)]
t.join()
os.write(w, b"x")
assert sorted(p.poll()) == sorted([(fd, select.POLLIN), (r, select.POLLIN)])
take()
os.read(r, 1)

e = select.epoll()
e.register(fd, select.EPOLLIN | select.EPOLLET)
e.register(r, select.EPOLLIN)
assert e.poll(0.01) == []
t = later(push)
assert e.poll(5) == [(fd, select.EPOLLIN)]
t.join()
assert e.poll(0.01) == []
t = later(lambda: os.write(w, b"y"))
assert e.poll(5) == [(r, select.EPOLLIN)]
t.join()
copy = os.dup(fd)
os.close(fd)
assert fcntl.ioctl(copy, PUSH, 1) == 0
assert (fd, select.EPOLLIN) in e.poll(5)
os.close(copy)
os.read(r, 1)
assert e.poll(0.01) == []
