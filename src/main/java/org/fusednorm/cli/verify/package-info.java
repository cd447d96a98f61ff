/**
 * What {@code fusednorm verify} checks: every verb of a backend against the reference engine and
 * against numbers computed elsewhere.
 *
 * <p>A {@link org.fusednorm.cli.verify.Problem} is a program of verbs with deterministic inputs
 * that every type holds exactly. It runs once on the reference in F64, which gives the true
 * results, and once per backend and type; {@link org.fusednorm.cli.verify.Comparison} sets the
 * results side by side. Every verb gets true inputs, not what the verb before it computed, so that
 * a wrong verb is the one that is named.
 */
package org.fusednorm.cli.verify;
