"""Never ends by itself, and takes no hint."""
import signal
import time

signal.signal(signal.SIGTERM, lambda *_: print("told to stop; goes on"))
print("searching for the last prime number ...")
while True:
    time.sleep(0.5)
