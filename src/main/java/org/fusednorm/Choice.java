package org.fusednorm;

/**
 * Which backend {@link Backends#best} opens.
 *
 * @param spec what {@link Backends#open} takes
 * @param forced whether a setting named it; then it may be one that is missing
 * @param reason the setting, or why no better backend is taken
 */
public record Choice(String spec, boolean forced, String reason) {}
