# Cross-compiles for arm64 against the libraries of a sysroot (spec/support/setup arm64 makes one in the cache).
set(sysroot $ENV{MOONRUNNER_ARM64_SYSROOT})
if(NOT sysroot)
  message(FATAL_ERROR "MOONRUNNER_ARM64_SYSROOT is not set: run ./dev test arm64, or set it to what "
                      "`spec/support/setup arm64` prints")
endif()

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_SYSROOT ${sysroot})
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH ${sysroot})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)

find_program(qemu qemu-aarch64-static REQUIRED)
set(CMAKE_CROSSCOMPILING_EMULATOR ${qemu} -L ${sysroot})

# pkg-config looks into the sysroot alone, and puts it before the paths that it answers.
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${sysroot})
set(ENV{PKG_CONFIG_LIBDIR} ${sysroot}/usr/lib/aarch64-linux-gnu/pkgconfig:${sysroot}/usr/share/pkgconfig)
