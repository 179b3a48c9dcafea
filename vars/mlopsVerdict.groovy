/** The one place where a verdict becomes a build's result: accepted SUCCESS, rejected and undecided UNSTABLE. */
void call(Map verdict) {
    String text = "${verdict.verdict}: ${verdict.metric ?: 'no metric'} ${number(verdict.value)}, bar ${number(verdict.target)}"
    if (verdict.champion != null) {
        text += ", champion ${number(verdict.champion)}"
    }
    currentBuild.description = text
    if (verdict.exit != 0) {
        unstable("${text}${verdict.reasons ? '. ' + verdict.reasons.join('; ') : ''}")
    }
}

String number(Object value) {
    return value == null ? '-' : String.format('%.4f', value.doubleValue())
}
