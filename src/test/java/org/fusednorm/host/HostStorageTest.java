package org.fusednorm.host;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class HostStorageTest {
  @Test
  void memoryInJavaAloneHasRoomForEveryByte() {
    // Where the system's allocator puts a buffer decides how much its alignment costs: try many.
    for (int size = 0; size < 3000; size++) {
      HostStorage s = HostStorage.withoutLibrary(size);
      assertEquals(size, s.bytes());
      assertEquals(0, s.address());
      if (size > 0) {
        s.putByte(size - 1, (byte) 7);
        assertEquals(7, s.getByte(size - 1));
        s.zero(0, size);
        assertEquals(0, s.getByte(size - 1));
      }
    }
  }
}
