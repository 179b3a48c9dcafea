/** The one place where a verdict becomes a build's result: accepted SUCCESS, rejected and undecided UNSTABLE. */
void call(Map verdict) {
    currentBuild.displayName = "#${currentBuild.number} ${verdict.badge}"
    currentBuild.description = verdict.summary
    if (verdict.exit != 0) {
        unstable("${verdict.summary}. ${(verdict.reasons ?: []).join('; ')}")
    }
}
