/**
 * Host memory and the JNI library, shared by the reference and CPU engines. Internal: nothing here
 * is part of the public API.
 *
 * <p>Java checks every argument before a native call, so native code has nothing to report but an
 * allocation that failed. The library is an optional part of the jar: where it is missing, switched
 * off or does not load, {@link org.fusednorm.host.NativeLibrary#unavailabilityCause()} says why and
 * {@link org.fusednorm.host.NativeLibrary#unavailabilityCure()} what to do about it.
 */
package org.fusednorm.host;
